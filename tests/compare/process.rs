//! A terminator that runs: one process or several, and what they have used.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The core that the terminator has for itself, and the others, which are ours.
#[derive(Clone, Copy)]
pub struct Cores {
    theirs: CpuSet,
    ours: CpuSet,
}

impl Cores {
    /// The last core is theirs. `None` where there is but one.
    pub fn part() -> io::Result<Option<Self>> {
        let mut ours = sched_getaffinity(None)?;
        let last = (0..CpuSet::MAX_CPU).rev().find(|cpu| ours.is_set(*cpu));
        let Some(last) = last.filter(|_| ours.count() > 1) else {
            return Ok(None);
        };
        let mut theirs = CpuSet::new();
        theirs.set(last);
        ours.unset(last);
        let cores = Self { theirs, ours };
        sched_setaffinity(None, &cores.ours)?;
        Ok(Some(cores))
    }
}

pub struct Running {
    child: Child,
    pub started: Instant,
}

impl Running {
    /// On a core of its own if there is one. What it logs goes to `log`.
    pub fn start(mut command: Command, log: fs::File, cores: Option<Cores>) -> io::Result<Self> {
        // A process begins on the cores of the thread that starts it.
        if let Some(cores) = cores {
            sched_setaffinity(None, &cores.theirs)?;
        }
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
        let started = Instant::now();
        let child = command.spawn();
        if let Some(cores) = cores {
            sched_setaffinity(None, &cores.ours)?;
        }
        Ok(Self { child: child?, started })
    }

    pub fn has_ended(&mut self) -> io::Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// To the process that was started, which passes it on if it has others.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }

    /// Time that its processes have had of any core, to 10 ms.
    pub fn cpu(&self) -> Duration {
        let ticks: u64 = self.processes().iter().map(|process| process.ticks).sum();
        Duration::from_millis(ticks * 10)
    }

    pub fn memory(&self) -> Memory {
        let mut memory = Memory::default();
        for process in self.processes() {
            let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", process.id)).unwrap_or_default();
            let kib = |field: &str| {
                let line = text.lines().find_map(|line| line.strip_prefix(field))?;
                line.split_whitespace().next()?.parse::<u64>().ok()
            };
            memory.resident_kib += kib("Pss:").unwrap_or(0);
            memory.anonymous_kib += kib("Pss_Anon:").unwrap_or(0);
        }
        memory
    }

    /// Puts it back on its core: some choose another for their workers.
    pub fn pin(&self, cores: Option<Cores>) -> io::Result<()> {
        if let Some(cores) = cores {
            for process in self.processes() {
                let tasks =
                    fs::read_dir(format!("/proc/{}/task", process.id)).into_iter().flatten().flatten();
                for task in tasks.filter_map(|task| task.file_name().to_str()?.parse().ok()) {
                    match sched_setaffinity(Pid::from_raw(task), &cores.theirs) {
                        // A thread that was there for one connection.
                        Err(Errno::SRCH) => {}
                        result => result?,
                    }
                }
            }
        }
        Ok(())
    }

    /// It and all that it started.
    fn processes(&self) -> Vec<Process> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let all: Vec<Process> = ids.filter_map(Process::read).collect();
        let mut family: Vec<Process> = Vec::new();
        let mut wanted = vec![self.child.id()];
        while let Some(id) = wanted.pop() {
            wanted.extend(all.iter().filter(|process| process.parent == id).map(|process| process.id));
            family.extend(all.iter().find(|process| process.id == id).copied());
        }
        family
    }
}

/// Pages that are mapped several times count by their share (PSS).
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    pub resident_kib: u64,
    /// Of that, what no file is behind: what one more of its kind costs on the same machine.
    pub anonymous_kib: u64,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }
}

#[derive(Clone, Copy)]
struct Process {
    id: u32,
    parent: u32,
    /// Of 10 ms, in user and in system mode, of all its threads.
    ticks: u64,
}

impl Process {
    fn read(id: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        // After the name, which may hold anything: state, parent, and 10 fields later the times.
        let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
        let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
        let ticks = number(11)? + number(12)?;
        Some(Self { id, parent: u32::try_from(number(1)?).ok()?, ticks })
    }
}
