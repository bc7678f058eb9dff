//! One measured quantity: a number for each terminator and round, and how the agent stands in it.

use serde::Serialize;

pub const OURS: &str = "hotcert";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    Lower,
    Higher,
}

#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    pub row: &'static str,
    pub what: String,
    pub unit: &'static str,
    pub better: Better,
    /// Worth a place in the picture.
    #[serde(skip)]
    pub headline: bool,
    pub measured: Vec<Measured>,
    pub ratio: Option<Ratio>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    pub name: &'static str,
    /// Not a choice: a terminator without TLS, or TLS without a terminator.
    pub floor: bool,
    /// One a round.
    pub samples: Vec<f64>,
    pub median: Option<f64>,
    /// Why there is nothing.
    pub failed: Option<String>,
}

/// Ours against the best peer's, round by round.
#[derive(Clone, Debug, Serialize)]
pub struct Ratio {
    pub best_peer: &'static str,
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

impl Figure {
    pub fn lower(row: &'static str, what: impl Into<String>, unit: &'static str) -> Self {
        Self {
            row,
            what: what.into(),
            unit,
            better: Better::Lower,
            headline: false,
            measured: Vec::new(),
            ratio: None,
        }
    }

    pub fn higher(row: &'static str, what: impl Into<String>, unit: &'static str) -> Self {
        Self { better: Better::Higher, ..Self::lower(row, what, unit) }
    }

    pub fn headline(self) -> Self {
        Self { headline: true, ..self }
    }

    pub fn title(&self) -> String {
        format!("{}, {}", self.row, self.what)
    }

    pub fn add(&mut self, name: &'static str, floor: bool, sample: f64) {
        self.of(name, floor).samples.push(sample);
    }

    pub fn fail(&mut self, name: &'static str, error: &anyhow::Error) {
        let measured = self.of(name, false);
        measured.samples.clear();
        measured.failed = Some(format!("{error:#}"));
    }

    fn of(&mut self, name: &'static str, floor: bool) -> &mut Measured {
        let at = self.measured.iter().position(|measured| measured.name == name).unwrap_or_else(|| {
            self.measured.push(Measured { name, floor, samples: Vec::new(), median: None, failed: None });
            self.measured.len() - 1
        });
        &mut self.measured[at]
    }

    /// Works out what follows from the samples.
    pub fn settle(&mut self) {
        for measured in &mut self.measured {
            measured.median = median(&measured.samples);
        }
        let rank = |value: f64| if self.better == Better::Lower { value } else { -value };
        let peers = self.measured.iter().filter(|measured| measured.name != OURS && !measured.floor);
        let best = peers
            .filter_map(|peer| Some((peer, rank(peer.median?))))
            .min_by(|(_, one), (_, other)| one.total_cmp(other));
        let ours = self.measured.iter().find(|measured| measured.name == OURS);
        self.ratio = ours.zip(best).and_then(|(ours, (best, _))| Ratio::of(ours, best));
    }
}

impl Ratio {
    fn of(ours: &Measured, best: &Measured) -> Option<Self> {
        let pairs = ours.samples.iter().zip(&best.samples);
        let ratios: Vec<f64> =
            pairs.map(|(ours, best)| ours / best).filter(|ratio| ratio.is_finite()).collect();
        Some(Self {
            best_peer: best.name,
            median: median(&ratios)?,
            least: ratios.iter().copied().fold(f64::INFINITY, f64::min),
            most: ratios.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        })
    }
}

pub fn median(samples: &[f64]) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn settled(mut figure: Figure, measured: &[(&'static str, bool, &[f64])]) -> Figure {
        for (name, floor, samples) in measured {
            samples.iter().for_each(|sample| figure.add(name, *floor, *sample));
        }
        figure.settle();
        figure
    }

    #[test]
    fn the_ratio_is_to_the_best_peer_round_by_round() {
        let measured: [(_, _, &[f64]); 4] = [
            (OURS, false, &[1.0, 3.0, 2.0]),
            ("fast", false, &[2.0, 2.0, 2.0]),
            ("slow", false, &[9.0, 1.0, 9.0]),
            ("no work at all", true, &[0.1, 0.1, 0.1]),
        ];
        let ratio = settled(Figure::lower("row", "time", "s"), &measured).ratio.unwrap();
        assert_eq!((ratio.best_peer, ratio.median, ratio.least, ratio.most), ("fast", 1.0, 0.5, 1.5));
        let ratio = settled(Figure::higher("row", "rate", "1/s"), &measured).ratio.unwrap();
        assert_eq!((ratio.best_peer, ratio.median), ("slow", 0.2222222222222222));
    }

    #[test]
    fn who_failed_is_no_peer() {
        let mut figure = Figure::lower("row", "time", "s");
        for name in [OURS, "broken", "whole"] {
            figure.add(name, false, 1.0);
        }
        figure.fail("broken", &anyhow::anyhow!("no answer"));
        figure.settle();
        assert_eq!(figure.ratio.unwrap().best_peer, "whole");
        assert_eq!(figure.measured[1].failed.as_deref(), Some("no answer"));
    }
}
