//! `/metrics` in the format that a scraper asks for: OpenMetrics, or the text format of Prometheus, which is what
//! everything reads and what is shown to whoever does not say.
//!
//! The two differ in the families: OpenMetrics names a counter without `_total` and knows the type `info`. Their samples
//! are alike.

use std::fmt::Write as _;

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The content type and the body of the response to a request with this header `Accept`.
pub fn render(registry: &Registry, accept: Option<&str>) -> (&'static str, String) {
    let mut openmetrics = String::new();
    // A string takes whatever is written to it.
    let _ = encode(&mut openmetrics, registry);
    match accept.is_some_and(prefers_openmetrics) {
        true => (OPENMETRICS, openmetrics),
        false => (TEXT, to_text(&openmetrics)),
    }
}

/// Whether OpenMetrics is asked for, and the text format is not preferred to it.
fn prefers_openmetrics(accept: &str) -> bool {
    let (mut openmetrics, mut text) = (0.0, 0.0);
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default().to_ascii_lowercase();
        let (mut quality, mut version) = (1.0, None);
        for (name, value) in parts.filter_map(|parameter| parameter.split_once('=')) {
            match name.trim().to_ascii_lowercase().as_str() {
                "q" => quality = value.trim().parse().unwrap_or(0.0),
                "version" => version = Some(value.trim().trim_matches('"')),
                _ => {}
            }
        }
        let best: &mut f32 = match (media_type.as_str(), version) {
            ("application/openmetrics-text", None | Some("1.0.0")) => &mut openmetrics,
            ("text/plain", None | Some("0.0.4")) => &mut text,
            _ => continue,
        };
        *best = best.max(quality);
    }
    openmetrics > 0.0 && openmetrics >= text
}

fn to_text(openmetrics: &str) -> String {
    let mut text = String::with_capacity(openmetrics.len());
    let mut help = None;
    for line in openmetrics.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("HELP"), Some(_), said) => help = said,
            (Some("#"), Some("TYPE"), Some(name), Some(kind)) => {
                let (suffix, kind) = match kind {
                    "counter" => ("_total", "counter"),
                    "info" => ("_info", "gauge"),
                    "unknown" => ("", "untyped"),
                    kind => ("", kind),
                };
                if let Some(help) = help.take() {
                    let _ = writeln!(text, "# HELP {name}{suffix} {help}");
                }
                let _ = writeln!(text, "# TYPE {name}{suffix} {kind}");
            }
            // UNIT and EOF.
            (Some("#"), ..) => {}
            _ => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::metrics::gauge::Gauge;
    use prometheus_client::metrics::histogram::Histogram;
    use prometheus_client::metrics::info::Info;

    use super::*;

    const PROMETHEUS_2: &str = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
         text/plain;version=0.0.4;q=0.5,*/*;q=0.1";

    #[test]
    fn openmetrics_is_for_those_who_ask_for_it() {
        let by_protobuf = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;q=0.7,\
             application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.4,*/*;q=0.3";
        for (accept, expected) in [
            (PROMETHEUS_2, true),
            (by_protobuf, true),
            ("application/openmetrics-text", true),
            ("Application/OpenMetrics-Text; Version=1.0.0; charset=utf-8", true),
            ("text/plain;q=0.5, application/openmetrics-text;q=0.6", true),
            ("text/plain, application/openmetrics-text;q=0.6", false),
            ("application/openmetrics-text;version=0.0.1", false),
            ("application/openmetrics-text;q=0", false),
            ("text/plain;version=0.0.4", false),
            ("*/*", false),
            ("text/html,application/xhtml+xml;q=0.9", false),
            (";;==,,q=", false),
            ("", false),
        ] {
            assert_eq!(prefers_openmetrics(accept), expected, "{accept}");
        }
    }

    #[test]
    fn text_has_the_names_and_types_of_prometheus() {
        let mut registry = Registry::with_prefix("p");
        registry.register("build", "Version", Info::new([("version", "1")]));
        let counter: Counter = Counter::default();
        registry.register("things", "Things # seen", counter.clone());
        counter.inc_by(3);
        registry.register("open", "Now open", <Gauge>::default());
        let histogram = Histogram::new([0.5]);
        histogram.observe(0.25);
        registry.register("took_seconds", "Time", histogram);
        let (content_type, text) = render(&registry, None);
        assert_eq!(content_type, "text/plain; version=0.0.4; charset=utf-8");
        assert_eq!(
            text,
            "# HELP p_build_info Version.\n# TYPE p_build_info gauge\np_build_info{version=\"1\"} 1\n\
             # HELP p_things_total Things # seen.\n# TYPE p_things_total counter\np_things_total 3\n\
             # HELP p_open Now open.\n# TYPE p_open gauge\np_open 0\n\
             # HELP p_took_seconds Time.\n# TYPE p_took_seconds histogram\np_took_seconds_sum 0.25\n\
             p_took_seconds_count 1\np_took_seconds_bucket{le=\"0.5\"} 1\np_took_seconds_bucket{le=\"+Inf\"} 1\n"
        );
        let (content_type, openmetrics) = render(&registry, Some(PROMETHEUS_2));
        assert!(content_type.starts_with("application/openmetrics-text; version=1.0.0"), "{content_type}");
        assert!(openmetrics.contains("# TYPE p_things counter\n") && openmetrics.ends_with("# EOF\n"));
    }
}
