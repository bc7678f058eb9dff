//! The progress of the scenario: counters, shown in one line while it runs.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hotcert_log::terminal::print_error;
use tokio::task::AbortHandle;
use tokio::time::interval;

use crate::leaf_tracker::LeafTracker;
use crate::load_stats::LoadStats;

const REDRAW: Duration = Duration::from_millis(250);

pub struct Progress {
    swaps: Mutex<Vec<Duration>>,
    broken: AtomicU64,
    restored: AtomicU64,
    rollovers: AtomicU64,
    phase: Mutex<&'static str>,
}

impl Progress {
    pub fn new() -> Self {
        Self {
            swaps: Mutex::default(),
            broken: AtomicU64::new(0),
            restored: AtomicU64::new(0),
            rollovers: AtomicU64::new(0),
            phase: Mutex::new("steady"),
        }
    }

    /// A leaf was served this long after the rename that published it.
    pub fn leaf_served(&self, after: Duration) {
        lock(&self.swaps).push(after);
    }

    pub fn broken_published(&self) {
        self.broken.fetch_add(1, Relaxed);
    }

    /// A broken candidate was replaced, and the agent rejects nothing any more.
    pub fn restored(&self) {
        self.restored.fetch_add(1, Relaxed);
    }

    pub fn phase(&self, phase: &'static str) {
        *lock(&self.phase) = phase;
    }

    pub fn rolled_over(&self) {
        self.rollovers.fetch_add(1, Relaxed);
        self.phase("steady, under the new root");
    }

    pub fn swaps(&self) -> Vec<Duration> {
        lock(&self.swaps).clone()
    }

    pub fn broken(&self) -> u64 {
        self.broken.load(Relaxed)
    }

    pub fn restorations(&self) -> u64 {
        self.restored.load(Relaxed)
    }

    pub fn rollovers(&self) -> u64 {
        self.rollovers.load(Relaxed)
    }
}

/// One line on stderr that is redrawn in place and erased when dropped. Only on a terminal.
pub struct LiveLine {
    task: Option<AbortHandle>,
}

impl LiveLine {
    pub fn start(
        progress: Arc<Progress>,
        load_stats: Arc<LoadStats>,
        leaf_tracker: Arc<LeafTracker>,
    ) -> Self {
        let draw = async move {
            let (begun, mut ticks) = (Instant::now(), interval(REDRAW));
            let (mut last, mut last_at) = (0, begun);
            loop {
                ticks.tick().await;
                let counts = load_stats.counts();
                let rate = (counts.requests - last) as f64 / last_at.elapsed().as_secs_f64();
                (last, last_at) = (counts.requests, Instant::now());
                print_error(format_args!(
                    "\r\x1b[2K{:3} s  {rate:4.0} requests/s  {} failed  {} leaves rotated  \
                     {} broken, {} served  root: {}",
                    begun.elapsed().as_secs(),
                    counts.failed,
                    lock(&progress.swaps).len(),
                    progress.broken(),
                    leaf_tracker.wrongly_served(),
                    lock(&progress.phase),
                ));
            }
        };
        let task = std::io::stderr().is_terminal().then(|| tokio::spawn(draw).abort_handle());
        Self { task }
    }
}

impl Drop for LiveLine {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
            print_error(format_args!("\r\x1b[2K"));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
