//! What something cost the controller: time, CPU, requests to the API server, memory.

use std::fmt;
use std::time::{Duration, Instant};

use kit::agent::Agent;
use serde::Serialize;

#[derive(Clone, Debug, Serialize)]
pub struct Cost {
    pub seconds: f64,
    /// Of the controller's process.
    pub cpu_seconds: f64,
    /// To the API server, by the controller alone; watches count once.
    pub requests: u64,
    pub writes: u64,
    pub resident_kib: u64,
}

#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub count: usize,
    pub issued: Cost,
    pub idle: Cost,
    pub renewed: Cost,
    pub rolled: Cost,
    pub settled_kib: u64,
    pub peak_kib: u64,
}

/// The controller, and how to read what it has used.
pub struct Measured<'a> {
    pub agent: Agent,
    /// Requests so far: all, and writes.
    pub requests: Box<dyn Fn() -> (u64, u64) + 'a>,
}

impl Measured<'_> {
    pub fn cost(&mut self, work: impl FnOnce()) -> Cost {
        let (requests, writes) = (self.requests)();
        let (begin, cpu) = (Instant::now(), self.cpu());
        work();
        let seconds = begin.elapsed().as_secs_f64();
        let (more_requests, more_writes) = (self.requests)();
        Cost {
            seconds,
            cpu_seconds: (self.cpu() - cpu).as_secs_f64(),
            requests: more_requests - requests,
            writes: more_writes - writes,
            resident_kib: self.resident(),
        }
    }

    pub fn resident(&self) -> u64 {
        self.agent.resident()
    }

    pub fn peak(&self) -> u64 {
        self.agent.resident_peak()
    }

    fn cpu(&self) -> Duration {
        self.agent.cpu()
    }
}

impl Row {
    pub fn table(rows: &[Self]) -> String {
        let mut lines = vec![format!(
            "{:>7}  {:>22}  {:>26}  {:>18}  {:>28}  {:>15}",
            "certs",
            "issue all (s, req/cert)",
            "idle 30 s (CPU ms, req)",
            "one leaf (s, req)",
            "rollover (s, req, writes/cert)",
            "MiB (now, peak)"
        )];
        for row in rows {
            let per = |number: u64| number as f64 / row.count as f64;
            lines.push(format!(
                "{:>7}  {:>14.1} {:>8.1}  {:>17.0} {:>8}  {:>11.2} {:>6}  {:>11.1} {:>8.1} {:>8.1}  {:>7} {:>7}",
                row.count,
                row.issued.seconds,
                per(row.issued.requests),
                row.idle.cpu_seconds * 1000.0,
                row.idle.requests,
                row.renewed.seconds,
                row.renewed.requests,
                row.rolled.seconds,
                per(row.rolled.requests),
                per(row.rolled.writes),
                row.settled_kib / 1024,
                row.peak_kib / 1024,
            ));
        }
        lines.join("\n")
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Self::table(std::slice::from_ref(self)))
    }
}
