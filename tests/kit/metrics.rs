//! A strict reader of OpenMetrics and of the Prometheus text format: it refuses what Prometheus would only put up with.

use std::collections::{BTreeMap, BTreeSet};

/// Samples by name and sorted labels.
#[derive(Debug, Default)]
pub struct Metrics {
    samples: BTreeMap<(String, Labels), f64>,
    pub kinds: BTreeMap<String, String>,
}

type Labels = Vec<(String, String)>;

impl Metrics {
    /// The sum over all samples of this name whose labels include these. 0 if there is none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.matching(name, labels).map(|(_, value)| value).sum()
    }

    /// The one sample of this name whose labels include these.
    #[track_caller]
    pub fn one(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let found: Vec<_> = self.matching(name, labels).collect();
        assert_eq!(found.len(), 1, "samples of {name} with {labels:?}: {found:?}");
        found[0].1
    }

    fn matching<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&str, &str)],
    ) -> impl Iterator<Item = (&'a Labels, f64)> + 'a {
        let includes = |has: &Labels| {
            labels.iter().all(|(k, v)| has.iter().any(|(name, value)| name == k && value == v))
        };
        self.samples
            .iter()
            .filter(move |((of, has), _)| of == name && includes(has))
            .map(|((_, has), value)| (has, *value))
    }

    /// Every value that this label has on metrics of this name.
    pub fn label_values(&self, name: &str, label: &str) -> BTreeSet<&str> {
        let labels = self.samples.keys().filter(|(of, _)| of == name).flat_map(|(_, labels)| labels);
        labels.filter(|(of, _)| of == label).map(|(_, value)| value.as_str()).collect()
    }

    /// The names of labels on each sample of a family, without the bounds of its buckets.
    pub fn label_names(&self, family: &str) -> Vec<BTreeSet<&str>> {
        let of_family = |name: &str| {
            let suffix = name.strip_prefix(family);
            suffix
                .is_some_and(|suffix| ["", "_total", "_info", "_bucket", "_sum", "_count"].contains(&suffix))
        };
        let samples = self.samples.keys().filter(|(name, _)| of_family(name));
        samples
            .map(|(_, labels)| {
                labels.iter().map(|(name, _)| name.as_str()).filter(|name| *name != "le").collect()
            })
            .collect()
    }

    pub fn parse(text: &str) -> Result<Self, String> {
        let mut metrics = Self::default();
        let mut helped = BTreeSet::new();
        let (mut family, mut done) = (String::new(), BTreeSet::new());
        let mut lines = text.lines();
        for line in lines.by_ref() {
            if line == "# EOF" {
                break;
            }
            let fault = |what: &str| Err(format!("{what}: {line:?}"));
            if let Some(comment) = line.strip_prefix("# ") {
                let mut words = comment.splitn(3, ' ');
                let (Some(kind), Some(name), Some(rest)) = (words.next(), words.next(), words.next()) else {
                    return fault("a comment that is neither HELP nor TYPE");
                };
                if name != family && !done.insert(name.to_owned()) {
                    return fault("a family in two places");
                }
                family = name.into();
                match kind {
                    "HELP" if rest.ends_with("..") => return fault("help with two full stops"),
                    "HELP" if helped.insert(name.to_owned()) => {}
                    "TYPE" if ["counter", "gauge", "histogram", "info", "unknown"].contains(&rest) => {
                        metrics.kinds.insert(name.into(), rest.into());
                    }
                    "UNIT" => {}
                    _ => return fault("a bad comment"),
                }
                continue;
            }
            let (name, labels, value) = sample(line).ok_or_else(|| format!("a bad sample: {line:?}"))?;
            let Some(kind) = metrics.kinds.get(&family).filter(|_| helped.contains(&family)) else {
                return fault("a sample without HELP and TYPE");
            };
            let suffix = name.strip_prefix(&family).unwrap_or("?");
            let fits = match kind.as_str() {
                "counter" => suffix == "_total" || suffix.is_empty() && family.ends_with("_total"),
                "histogram" => ["_bucket", "_sum", "_count"].contains(&suffix),
                "info" => suffix == "_info",
                _ => suffix.is_empty(),
            };
            if !fits {
                return fault("a sample that does not fit its family");
            }
            if metrics.samples.insert((name, labels), value).is_some() {
                return fault("a sample that is there twice");
            }
        }
        if let Some(line) = lines.next() {
            return Err(format!("something after the end: {line:?}"));
        }
        metrics.check_histograms().map(|()| metrics)
    }

    fn check_histograms(&self) -> Result<(), String> {
        for name in self.kinds.iter().filter(|(_, kind)| *kind == "histogram").map(|(name, _)| name) {
            let buckets = format!("{name}_bucket");
            for count in self.samples.iter().filter(|((of, _), _)| *of == format!("{name}_count")) {
                let ((_, labels), count) = count;
                let labels: Vec<_> = labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
                let mut of: Vec<_> =
                    self.matching(&buckets, &labels).map(|(has, value)| (bound(has), value)).collect();
                of.sort_by(|a, b| a.0.total_cmp(&b.0));
                if !of.is_sorted_by(|a, b| a.1 <= b.1) || of.last() != Some(&(f64::INFINITY, *count)) {
                    return Err(format!("buckets of {name} do not add up: {of:?}"));
                }
            }
        }
        Ok(())
    }
}

fn bound(labels: &Labels) -> f64 {
    labels.iter().find(|(name, _)| name == "le").and_then(|(_, value)| number(value)).unwrap_or(f64::NAN)
}

fn number(text: &str) -> Option<f64> {
    match text {
        "+Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        text => text.parse().ok(),
    }
}

fn is_name(text: &str) -> bool {
    let mut letters = text.chars();
    letters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && letters.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn sample(line: &str) -> Option<(String, Labels, f64)> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = Labels::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (label, after) = rest.split_once("=\"")?;
            let close =
                (0..after.len()).find(|&at| after[at..].starts_with('"') && !after[..at].ends_with('\\'))?;
            if !is_name(label) || labels.iter().any(|(name, _)| name == label) {
                return None;
            }
            labels.push((label.into(), after[..close].into()));
            rest = &after[close + 1..];
            rest = rest.strip_prefix(',').unwrap_or(rest);
        }
        rest = &rest[1..];
    }
    labels.sort();
    let value = number(rest.strip_prefix(' ')?)?;
    is_name(name).then_some((name.into(), labels, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "# HELP a_total Things.\n# TYPE a_total counter\na_total{x=\"1\",y=\"}, \"} 2\na_total{x=\"2\"} 3\n\
        # HELP h_seconds Time.\n# TYPE h_seconds histogram\nh_seconds_sum 1\nh_seconds_count 2\n\
        h_seconds_bucket{le=\"0.1\"} 1\nh_seconds_bucket{le=\"+Inf\"} 2\n# EOF\n";

    #[test]
    fn reads_samples_by_label() {
        let metrics = Metrics::parse(GOOD).unwrap();
        assert_eq!(metrics.sum("a_total", &[]), 5.0);
        assert_eq!(metrics.one("a_total", &[("y", "}, ")]), 2.0);
        assert_eq!(metrics.label_values("a_total", "x"), ["1", "2"].into());
    }

    #[test]
    fn refuses_what_is_malformed() {
        for (from, to) in [
            ("# TYPE a_total counter\n", ""),
            ("# HELP a_total Things.\n", ""),
            ("a_total{x=\"2\"} 3", "a_total{x=\"1\",y=\"}, \"} 3"),
            ("a_total{x=\"2\"} 3", "b_total{x=\"2\"} 3"),
            ("a_total{x=\"2\"} 3", "a_total{x=\"2\"} three"),
            ("le=\"0.1\"} 1", "le=\"0.1\"} 3"),
            ("# EOF\n", "# EOF\na_total{x=\"4\"} 1\n"),
        ] {
            assert!(Metrics::parse(&GOOD.replace(from, to)).is_err(), "{from} → {to}");
        }
    }
}
