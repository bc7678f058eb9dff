//! What something cost the controller: time, CPU, the planner's part of it, requests to the API server, memory.

use std::fmt;
use std::time::{Duration, Instant};

use kit::agent::Agent;
use kit::metrics::Metrics;
use kit::within;
use serde::Serialize;

use crate::site::{Requests, Site};

const DEADLINE: Duration = Duration::from_secs(45 * 60);
/// How many leaves are made anew, one after the other.
const ROTATIONS: usize = 5;
const REST: Duration = Duration::from_secs(30);

#[derive(Clone, Debug, Serialize)]
pub struct Cost {
    pub seconds: f64,
    /// Of the controller's process.
    pub cpu_seconds: f64,
    /// The planner's part, and how many objects it planned.
    pub planning_seconds: f64,
    pub planned: u64,
    /// To the API server, by the controller alone; watches count once.
    pub requests: Requests,
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

/// A controller, and what it works on.
struct Measured<'a> {
    site: &'a dyn Site,
    controller: Agent,
}

impl Row {
    pub fn measure(site: &dyn Site) -> Self {
        let measured = Measured { site, controller: site.start_controller() };
        Self {
            count: site.count(),
            issued: measured.cost(|| measured.wait_all_done()),
            idle: measured.cost(|| std::thread::sleep(REST)),
            renewed: measured.median_rotation(),
            rolled: measured.cost(|| measured.roll_over()),
            settled_kib: measured.settle(),
            peak_kib: measured.controller.resident_peak(),
        }
    }
}

impl Measured<'_> {
    fn cost(&self, work: impl FnOnce()) -> Cost {
        let before = self.site.requests();
        let (planning, planned) = self.planning();
        let (begin, cpu) = (Instant::now(), self.controller.cpu());
        work();
        let seconds = begin.elapsed().as_secs_f64();
        let cpu_seconds = (self.controller.cpu() - cpu).as_secs_f64();
        let (more_planning, more_planned) = self.planning();
        let mut requests = self.site.requests();
        requests.iter_mut().for_each(|(kind, count)| *count -= before.get(kind).copied().unwrap_or(0));
        requests.retain(|_, count| *count > 0);
        Cost {
            seconds,
            cpu_seconds,
            planning_seconds: more_planning - planning,
            planned: (more_planned - planned) as u64,
            requests,
            resident_kib: self.controller.resident(),
        }
    }

    fn planning(&self) -> (f64, f64) {
        let metrics = self.metrics();
        let sum = |name: &str| metrics.sum(&format!("hotcert_controller_{name}_total"), &[]);
        (sum("planning_seconds"), sum("planned_objects"))
    }

    fn metrics(&self) -> Metrics {
        let text = kit::client::get(self.controller.address("admin"), "/metrics").unwrap().text();
        Metrics::parse(&text).unwrap()
    }

    fn done(&self, metrics: &Metrics) -> f64 {
        let (name, labels) = self.site.done_metric();
        metrics.sum(name, labels)
    }

    /// Every certificate is ready, and its publication done.
    fn wait_all_done(&self) {
        within(DEADLINE, "all issued", || {
            std::thread::sleep(Duration::from_millis(100));
            let metrics = self.metrics();
            let ready = metrics.sum("hotcert_controller_certificates", &[("ready", "True")]);
            let count = self.site.count();
            (ready as usize == count && self.done(&metrics) as usize >= count).then_some(())
        });
    }

    /// By what it took.
    fn median_rotation(&self) -> Cost {
        let ids = (0..ROTATIONS).map(|number| format!("scale-{number}"));
        let mut costs: Vec<_> = ids.map(|id| self.cost(|| self.rotate_one(&id))).collect();
        costs.sort_by(|one, other| one.seconds.total_cmp(&other.seconds));
        costs.swap_remove(ROTATIONS / 2)
    }

    fn rotate_one(&self, id: &str) {
        let before = self.done(&self.metrics());
        self.site.rotate_one(id);
        within(DEADLINE, "the new leaf", || (self.done(&self.metrics()) > before).then_some(()));
    }

    /// What the controller still needs when it has had nothing to do for a while.
    fn settle(&self) -> u64 {
        std::thread::sleep(REST);
        self.controller.resident()
    }

    fn roll_over(&self) {
        let (begin, before) = (Instant::now(), self.site.requests());
        self.site.roll_over();
        let mut last = String::new();
        within(DEADLINE, "the rollover ended", || {
            std::thread::sleep(Duration::from_millis(100));
            let metrics = self.metrics();
            let waiting = metrics.sum("hotcert_controller_rollover_waiting", &[]);
            let is =
                |phase: &&str| metrics.sum("hotcert_controller_rollover_phase", &[("phase", *phase)]) > 0.0;
            let phase =
                ["Steady", "Distributing", "Reissuing", "Retiring"].into_iter().find(is).unwrap_or("-");
            let has_begun = !last.is_empty();
            if phase != last && (has_begun || phase != "Steady") {
                let so_far = |kind: &str| {
                    let count = |requests: &Requests| requests.get(kind).copied().unwrap_or(0);
                    count(&self.site.requests()) - count(&before)
                };
                let statuses = so_far("PATCH servicecertificates/status");
                let seconds = begin.elapsed().as_secs_f64();
                eprintln!("  {phase} after {seconds:.1} s and {statuses} statuses, waiting for {waiting}");
                last = phase.to_owned();
            }
            (has_begun && phase == "Steady").then_some(())
        });
    }
}

impl Cost {
    fn all(&self) -> u64 {
        self.requests.values().sum()
    }

    fn writes(&self) -> u64 {
        let is_write =
            |kind: &str| ["POST", "PUT", "PATCH", "DELETE"].iter().any(|verb| kind.starts_with(verb));
        self.requests.iter().filter(|(kind, _)| is_write(kind)).map(|(_, count)| count).sum()
    }
}

impl Row {
    pub fn table(rows: &[Self]) -> String {
        let mut lines = vec![format!(
            "{:>7}  {:>22}  {:>26}  {:>18}  {:>28}  {:>15}  {:>33}",
            "certs",
            "issue all (s, req/cert)",
            "idle 30 s (CPU ms, req)",
            "one leaf (s, req)",
            "rollover (s, req, writes/cert)",
            "MiB (now, peak)",
            "planner (µs/cert: issue, rollover)",
        )];
        for row in rows {
            let per = |number: u64| number as f64 / row.count as f64;
            lines.push(format!(
                "{:>7}  {:>14.1} {:>8.1}  {:>17.0} {:>8}  {:>11.2} {:>6}  {:>11.1} {:>8.1} {:>8.1}  {:>7} {:>7}  {:>20.0} {:>12.0}",
                row.count,
                row.issued.seconds,
                per(row.issued.all()),
                row.idle.cpu_seconds * 1000.0,
                row.idle.all(),
                row.renewed.seconds,
                row.renewed.all(),
                row.rolled.seconds,
                per(row.rolled.all()),
                per(row.rolled.writes()),
                row.settled_kib / 1024,
                row.peak_kib / 1024,
                row.issued.planning_seconds * 1e6 / row.count as f64,
                row.rolled.planning_seconds * 1e6 / row.count as f64,
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
