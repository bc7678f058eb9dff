//! What came of a load.

use std::io;
use std::time::Duration;

#[derive(Default)]
pub struct Tally {
    pub answers: u64,
    /// Plain bytes, in both directions.
    pub bytes: u64,
    /// Requests without their answer, connections that could not be made.
    pub failed: u64,
    pub first_failure: Option<String>,
    /// Of each answer, from when it was due to be asked for.
    pub latencies: Vec<Duration>,
    pub elapsed: Duration,
}

impl Tally {
    pub fn per_second(&self) -> f64 {
        self.answers as f64 / self.elapsed.as_secs_f64()
    }

    pub fn answer(&mut self, latency: Duration) {
        self.answers += 1;
        self.latencies.push(latency);
    }

    pub fn fail(&mut self, error: &io::Error) {
        self.failed += 1;
        self.first_failure.get_or_insert_with(|| error.to_string());
    }

    /// The latency that so large a part of the answers kept within, in milliseconds.
    pub fn quantile(&self, part: f64) -> f64 {
        quantile(&self.latencies, part)
    }
}

/// In milliseconds.
pub fn quantile(times: &[Duration], part: f64) -> f64 {
    let mut times = times.to_vec();
    times.sort_unstable();
    let last = times.len().saturating_sub(1);
    times.get((last as f64 * part).round() as usize).map_or(f64::NAN, |time| time.as_secs_f64() * 1000.0)
}
