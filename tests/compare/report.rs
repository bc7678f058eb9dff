//! What is printed and kept: a table for people, JSON for programs.

use std::fmt::Write as _;

use serde::Serialize;

use crate::figure::{Figure, OURS};
use crate::floor;

#[derive(Serialize)]
pub struct Report {
    pub machine: String,
    /// Name and version.
    pub terminators: Vec<(&'static str, String)>,
    pub rounds: usize,
    pub seconds_each: f64,
    pub figures: Vec<Figure>,
}

impl Report {
    pub fn markdown(&self) -> String {
        let mut names: Vec<&str> = self.terminators.iter().map(|(name, _)| *name).collect();
        let mut measured = self.figures.iter().flat_map(|figure| &figure.measured);
        names.extend(measured.find(|measured| measured.name == floor::NAME).map(|measured| measured.name));
        let mut text = String::from("| |");
        for name in &names {
            let _ = write!(text, " {name} |");
        }
        text.push_str(" against the best peer |\n|---|");
        text.push_str(&"---:|".repeat(names.len() + 1));
        text.push('\n');
        for figure in &self.figures {
            let unit = if figure.unit.is_empty() { String::new() } else { format!(" ({})", figure.unit) };
            let _ = write!(text, "| {}: {}{unit} |", figure.row, figure.what);
            for name in &names {
                let median = figure.measured.iter().find(|measured| measured.name == *name);
                let cell = match median {
                    Some(measured) => measured.median.map_or_else(|| "cannot".into(), number),
                    None => String::new(),
                };
                let _ = write!(text, " {cell} |");
            }
            text.push_str(&bar_reached(figure));
            text.push_str(" |\n");
        }
        let versions: Vec<String> =
            self.terminators.iter().map(|(name, version)| format!("{name} {version}")).collect();
        let _ = write!(
            text,
            "\n{}. {}. Medians of {} rounds of {} s.\n",
            versions.join(", "),
            self.machine,
            self.rounds,
            self.seconds_each
        );
        text
    }
}

/// `0.81 × Envoy (0.79–0.84)`.
fn bar_reached(figure: &Figure) -> String {
    let Some(ratio) = &figure.ratio else { return String::new() };
    let samples =
        figure.measured.iter().find(|measured| measured.name == OURS).map_or(0, |ours| ours.samples.len());
    let spread = match samples {
        0 | 1 => String::new(),
        _ => format!(" ({:.2}–{:.2})", ratio.least, ratio.most),
    };
    format!(" {:.2} × {}{spread}", ratio.median, ratio.best_peer)
}

/// Three digits that count; a count as it is.
pub fn number(value: f64) -> String {
    let digits = match value.abs() {
        large if large >= 100.0 => 0,
        large if large >= 10.0 => 1,
        _ => 2,
    };
    let digits = if value.fract() == 0.0 { 0 } else { digits };
    format!("{value:.digits$}")
}
