//! Figures, what they are held against, and the table.

use std::fmt;
use std::fmt::Write as _;
use std::time::Duration;

use crate::rows::Row;

/// Answers of one kind within one phase.
#[derive(Clone, Debug, Default)]
pub struct Series {
    latencies: Vec<Duration>,
    pub failures: usize,
    pub first_failure: Option<String>,
}

impl Series {
    pub fn answer(&mut self, latency: Duration) {
        self.latencies.push(latency);
    }

    pub fn fail(&mut self, cause: String) {
        self.failures += 1;
        self.first_failure.get_or_insert(cause);
    }

    pub fn join(&mut self, other: &Self) {
        self.latencies.extend(&other.latencies);
        self.failures += other.failures;
        if self.first_failure.is_none() {
            self.first_failure.clone_from(&other.first_failure);
        }
    }

    pub fn asked(&self) -> usize {
        self.latencies.len() + self.failures
    }

    /// The latency that so many of a hundred requests did not exceed; of fewer requests one may. One that failed was
    /// slower than any.
    pub fn percentile(&self, percent: usize) -> Option<Duration> {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        let at = (self.asked() * percent / 100).max(1) - 1;
        sorted.get(at).copied()
    }

    /// `p50/p99`
    pub fn percentiles(&self) -> String {
        format!("{}/{}", show(self.percentile(50)), show(self.percentile(99)))
    }

    pub fn failed(&self) -> String {
        let cause = self.first_failure.as_ref().map(|cause| format!(" ({cause})")).unwrap_or_default();
        format!("{} of {}{cause}", self.failures, self.asked())
    }
}

fn show(latency: Option<Duration>) -> String {
    latency.map_or("none".into(), milliseconds)
}

pub fn milliseconds(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1000.0;
    if ms < 10.0 { format!("{ms:.1} ms") } else { format!("{ms:.0} ms") }
}

/// One figure that is held against a bound.
pub struct Line {
    pub what: String,
    pub bound: String,
    pub rest: String,
    pub attacked: String,
    pub held: bool,
    /// Filled in once for all lines of a phase.
    pub cores: String,
}

impl Line {
    pub fn new(
        what: impl Into<String>,
        bound: impl Into<String>,
        rest: impl fmt::Display,
        attacked: impl fmt::Display,
        held: bool,
    ) -> Self {
        let (rest, attacked) = (rest.to_string(), attacked.to_string());
        Self { what: what.into(), bound: bound.into(), rest, attacked, held, cores: String::new() }
    }

    pub fn not_measured(why: String) -> Self {
        Self::new("could not be measured", "", "", why, false)
    }

    /// A 99th percentile within `most`, or three times what it is at rest: other programs are on the machine too.
    pub fn latency(what: impl Into<String>, most: Duration, rest: &Series, attacked: &Series) -> Self {
        let allowed = most.max(rest.percentile(99).map_or(Duration::ZERO, |rest| rest * 3));
        let held = attacked.percentile(99).is_some_and(|p99| p99 <= allowed);
        let bound = format!("p99 ≤ {} or 3× rest", milliseconds(most));
        Self::new(what, bound, rest.percentiles(), attacked.percentiles(), held)
    }

    /// No more of a hundred requests fail than at rest.
    pub fn failures(what: impl Into<String>, rest: &Series, attacked: &Series) -> Self {
        let held =
            attacked.asked() > 0 && attacked.failures * rest.asked() <= rest.failures * attacked.asked();
        Self::new(what, "none fails", rest.failed(), attacked.failed(), held)
    }

    /// Something that is counted, and must not be more than `most`.
    pub fn most(what: impl Into<String>, unit: &str, most: u64, rest: impl fmt::Display, is: u64) -> Self {
        Self::new(what, format!("≤ {most}{unit}"), rest, format!("{is}{unit}"), is <= most)
    }

    /// Something that must be.
    pub fn must(what: impl Into<String>, bound: &str, is: impl fmt::Display, held: bool) -> Self {
        Self::new(what, bound, "", is, held)
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} (bound: {}; at rest: {})", self.what, self.attacked, self.bound, self.rest)
    }
}

/// Markdown, with one line for each figure.
pub fn table(results: &[(&Row, Vec<Line>)]) -> String {
    let mut cells = vec![
        ["attack", "figure", "bound", "at rest", "under attack", "verdict", "cores"]
            .map(String::from)
            .to_vec(),
    ];
    for (row, lines) in results {
        for line in lines {
            let verdict = if line.held { "held" } else { "NOT HELD" };
            let Line { what, bound, rest, attacked, cores, .. } = line;
            let columns = [row.name, what, bound, rest, attacked, verdict, cores];
            cells.push(columns.map(|cell| cell.replace('|', "/").replace('\n', " ")).to_vec());
        }
    }
    let width = |column: usize| cells.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..cells[0].len()).map(width).collect();
    let mut text = String::new();
    for (at, row) in cells.iter().enumerate() {
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(text, "| {cell:<width$} ");
        }
        text.push_str("|\n");
        if at == 0 {
            widths.iter().for_each(|width| text.push_str(&format!("|{}", "-".repeat(width + 2))));
            text.push_str("|\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(milliseconds: &[u64], failures: usize) -> Series {
        let mut series = Series::default();
        milliseconds.iter().for_each(|ms| series.answer(Duration::from_millis(*ms)));
        (0..failures).for_each(|_| series.fail("closed".into()));
        series
    }

    #[test]
    fn a_request_that_failed_is_slower_than_any() {
        let hundred: Vec<u64> = (1..=100).rev().collect();
        assert_eq!(series(&hundred, 0).percentiles(), "50 ms/99 ms");
        assert_eq!(series(&hundred[1..], 1).percentiles(), "50 ms/99 ms");
        assert_eq!(series(&hundred[2..], 2).percentiles(), "50 ms/none");
        assert_eq!(series(&[], 0).percentile(99), None);
    }

    #[test]
    fn a_latency_may_be_what_it_is_at_rest_times_three() {
        let held = |rest: u64, attacked: &Series| {
            Line::latency("", Duration::from_millis(25), &series(&[rest], 0), attacked).held
        };
        assert!(held(1, &series(&[25], 0)) && !held(1, &series(&[26], 0)));
        assert!(held(20, &series(&[60], 0)) && !held(20, &series(&[61], 0)));
        assert!(!held(1, &series(&[1], 2)) && !held(1, &series(&[], 0)));
    }

    #[test]
    fn no_more_may_fail_than_at_rest() {
        let held = |rest: &Series, attacked: &Series| Line::failures("", rest, attacked).held;
        assert!(held(&series(&[1], 0), &series(&[1], 0)) && !held(&series(&[1], 0), &series(&[1], 1)));
        assert!(held(&series(&[1], 1), &series(&[1, 1], 2)) && !held(&series(&[1], 0), &series(&[], 0)));
    }
}
