//! What a process and the whole machine have used, read from `/proc`.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Between two looks at a process.
const LOOK: Duration = Duration::from_millis(20);

/// Time that all threads of a process have had of any core, to the microsecond. The ticks of `/proc/PID/stat` are
/// too coarse for the cost of a handshake.
pub fn cpu(id: u32) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten().flatten();
    let nanoseconds = tasks.filter_map(|task| {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanoseconds.sum())
}

pub fn resident_kib(id: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

pub fn descriptors(id: u32) -> u64 {
    fs::read_dir(format!("/proc/{id}/fd")).map_or(0, |entries| entries.count() as u64)
}

/// Time of all cores that was not idle, in ticks of 10 ms.
fn machine() -> Duration {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields = stat.lines().next().unwrap_or_default().split_whitespace().skip(1);
    let ticks: Vec<u64> = fields.filter_map(|field| field.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq, steal; guests are counted as users already.
    let busy: u64 =
        ticks.iter().take(8).enumerate().filter(|(at, _)| !(3..=4).contains(at)).map(|(_, t)| t).sum();
    Duration::from_millis(busy * 10)
}

/// The most that a process had at any time while it was looked at.
pub struct Peak {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(u64, u64)>,
}

impl Peak {
    pub fn of(id: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut peak = (0, 0);
            loop {
                peak = (resident_kib(id).max(peak.0), descriptors(id).max(peak.1));
                if stopped.load(Ordering::Relaxed) {
                    return peak;
                }
                std::thread::sleep(LOOK);
            }
        });
        Self { stop, thread }
    }

    /// Resident KiB and descriptors.
    pub fn end(self) -> (u64, u64) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the thread that looks")
    }
}

/// Who used the cores between two moments.
pub struct Cores {
    begin: Instant,
    program: (u32, Duration),
    /// This process: the honest client and the app.
    honest: (u32, Duration),
    attackers: Vec<(u32, Duration)>,
    machine: Duration,
}

impl Cores {
    pub fn begin(program: u32, attackers: impl Iterator<Item = u32>) -> Self {
        let used = |id| (id, cpu(id));
        let (program, honest) = (used(program), used(std::process::id()));
        Self {
            begin: Instant::now(),
            program,
            honest,
            attackers: attackers.map(used).collect(),
            machine: machine(),
        }
    }

    /// Such as `program 0.97, attack 0.80, honest 0.10, others 0.05 of 2`.
    pub fn end(&self) -> String {
        let elapsed = self.begin.elapsed().as_secs_f64();
        let of = |(id, before): &(u32, Duration)| cpu(*id).saturating_sub(*before).as_secs_f64() / elapsed;
        let program = of(&self.program);
        let attackers: f64 = self.attackers.iter().map(of).sum();
        let honest = of(&self.honest);
        let all = machine().saturating_sub(self.machine).as_secs_f64() / elapsed;
        let others = (all - program - attackers - honest).max(0.0);
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        format!(
            "program {program:.2}, attack {attackers:.2}, honest {honest:.2}, others {others:.2} of {count}"
        )
    }
}
