//! What the two programs write to standard error and standard output.
//!
//! ```text
//! message ─► level ─► limit of libraries ─► format ─► queue ═══► writer ─► standard error
//!            filter   limit, limiter                  bounded    a thread
//! ```
//!
//! The log is a courtesy: it never blocks, slows or ends what it is about. A message is formatted where it is logged
//! and goes into a [`queue`](queue::Queue) of a fixed size; one thread writes. What the queue has no room for and what
//! cannot be written is dropped, counted ([`DroppedLines`]) and said in the next line that gets through. A panic is
//! logged the same way. What is queued is written before the process ends, if that takes no longer than
//! [`FLUSH_TIMEOUT`]. [`exposition`] has the metrics of a program in the format that a scraper asks for.
//!
//! `tracing-appender` bounds its queue by lines and not by bytes, gives up a whole batch at an error without counting
//! it, and prints at its end, which blocks and panics as the log did.
//!
//! Lines on standard output that are no messages have a queue and a thread of their own, [`LineOutput`], under the same
//! rules.
//!
//! Commands that a person runs print through [`terminal`], at once, and end quietly when nobody reads on.

mod dropped_lines;
pub mod exposition;
mod filter;
mod library_limit;
mod limiter;
mod line;
mod output;
mod queue;
mod standard_stream;
pub mod terminal;
mod writer;

use std::io::{self, IsTerminal as _, Write};
use std::panic::PanicHookInfo;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use tracing::{Level, warn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

pub use dropped_lines::DroppedLines;
pub use limiter::{Allowed, LogLimiter};
pub use output::LineOutput;

use filter::Filter;
use library_limit::LibraryLimit;
use queue::Queue;
use standard_stream::StandardStream;
use writer::{GapReport, Writer};

/// How long the end of the process waits for the log.
pub const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines of text
    Text,
    /// One JSON object per line
    Json,
}

/// The log of this process.
static LOG: OnceLock<Log> = OnceLock::new();

pub(crate) struct Log {
    format: LogFormat,
    queue: Queue,
    libraries: LibraryLimit,
}

/// The log is on while this exists. Its end waits until what was logged is written.
#[derive(Debug)]
#[must_use]
pub struct Started(());

impl Drop for Started {
    fn drop(&mut self) {
        flush();
    }
}

/// Starts the log. `HOTCERT_LOG` is a level or a filter. A bare level applies to the crates of ours, and not to other
/// libraries, whose messages would drown theirs. What cannot be a filter is reported in the log, at the default level.
/// A second call in one process has no effect.
pub fn start(format: LogFormat) -> io::Result<Started> {
    if LOG.get().is_some() {
        return Ok(Started(()));
    }
    let writer = Writer::new(StandardStream::error()?, GapReport::Line(format));
    std::thread::Builder::new().name("log".into()).spawn(move || {
        let log = LOG.wait();
        writer.run(&log.queue, || log.report_suppressed())
    })?;
    let Filter { directives, named_targets, problem } = Filter::from_environment();
    let libraries = LibraryLimit::new(named_targets);
    let log = LOG.get_or_init(|| Log { format, queue: Queue::default(), libraries });
    std::panic::set_hook(Box::new(|panic| log_panic(log, panic)));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(directives)
        .with_writer(move || QueueWriter(&log.queue))
        .with_target(false);
    // Fails where a program that embeds this one has a log of its own.
    let _ = match format {
        LogFormat::Text => {
            let subscriber = subscriber.with_ansi(io::stderr().is_terminal());
            subscriber.finish().with(library_limit::Limit(log)).try_init()
        }
        LogFormat::Json => {
            let subscriber = subscriber.json().flatten_event(true).with_current_span(false);
            subscriber.with_span_list(false).finish().with(library_limit::Limit(log)).try_init()
        }
    };
    if let Some(problem) = problem {
        warn!("HOTCERT_LOG: {problem}; the level is {}", filter::DEFAULT);
    }
    Ok(Started(()))
}

/// Waits until what was logged and put out is written: before the process ends. All calls together wait for
/// [`FLUSH_TIMEOUT`].
pub fn flush() {
    static DEADLINE: OnceLock<Instant> = OnceLock::new();
    let deadline = *DEADLINE.get_or_init(|| Instant::now() + FLUSH_TIMEOUT);
    let flush = |queue: &Queue| queue.flush(deadline.saturating_duration_since(Instant::now()));
    // What is put out is asked for; a log that nobody reads must not take its time.
    if let Some(output) = output::OUTPUT.get() {
        flush(output);
    }
    if let Some(log) = LOG.get() {
        log.report_suppressed();
        flush(&log.queue);
    }
}

/// Prints what a person must see before the process ends, after everything that was logged.
pub fn last_words(text: &str) {
    match LOG.get() {
        Some(log) => {
            log.queue.push(format!("{text}\n").as_bytes());
            flush();
        }
        None => errln!("{text}"),
    }
}

impl Log {
    /// Logs how many messages of libraries were suppressed since the last time, if there were any.
    fn report_suppressed(&self) {
        if let Some(line) = self.libraries.report(self.format) {
            self.queue.push(line.as_bytes());
        }
    }
}

/// Written as a line of the log rather than to standard error, where a thread that moves traffic would wait.
fn log_panic(log: &Log, panic: &PanicHookInfo<'_>) {
    let payload = panic.payload();
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
    let place = panic.location().map_or_else(String::new, |location| format!(" at {location}"));
    let thread = std::thread::current();
    let mut message = format!("thread {} panicked{place}: {text}", thread.name().unwrap_or("without name"));
    let backtrace = std::backtrace::Backtrace::capture();
    if backtrace.status() == std::backtrace::BacktraceStatus::Captured {
        message = format!("{message}\n{backtrace}");
    }
    log.queue.push(line::line(log.format, Level::ERROR, &message, &[]).as_bytes());
}

/// What a message is written to, whole and in one call.
struct QueueWriter(&'static Queue);

impl Write for QueueWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
