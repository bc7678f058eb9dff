//! The thread that writes what is queued, the only one that waits for standard error or standard output. An error ends
//! nothing: what could not be written is counted, and said before the next line that can.

use std::io::{self, Write};

use tracing::{Level, warn};

use crate::line::line;
use crate::queue::{Next, Queue};
use crate::{Allowed, LogFormat, LogLimiter};

/// Writes up to this length are not torn apart by another process that writes to the same pipe (PIPE_BUF of Linux).
const MAX_WRITE: usize = 4096;

pub struct Writer<W> {
    out: W,
    report: GapReport,
    gap: Gap,
    /// What was written last is a part of a line.
    is_torn: bool,
}

/// Where it is said that lines are missing.
pub enum GapReport {
    /// Where they would be, by a line.
    Line(LogFormat),
    /// In the log.
    Log(LogLimiter),
}

/// Lines that are missing in what was written, and of which that does not say so yet.
#[derive(Default)]
struct Gap {
    queue_full: u64,
    write_failed: u64,
    error: String,
}

/// How much was written, and why no more.
type WriteError = (usize, io::Error);

impl<W: Write> Writer<W> {
    pub fn new(out: W, report: GapReport) -> Self {
        Self { out, report, gap: Gap::default(), is_torn: false }
    }

    /// `on_report` is called when the time has come that the queue was told.
    pub fn run(mut self, queue: &Queue, on_report: impl Fn()) -> ! {
        let mut lines = Vec::new();
        loop {
            match queue.next(&mut lines) {
                Next::Write { overflow } => queue.count_failed(self.write(&lines, overflow)),
                Next::Report => on_report(),
            }
        }
    }

    /// Writes these lines and that as many more were dropped after them. Returns how many could not be written.
    fn write(&mut self, lines: &[u8], overflow: u64) -> u64 {
        let mut failed = 0;
        for piece in pieces(lines) {
            if let Err((written, error)) = self.say_gap().and_then(|()| self.send(piece)) {
                let lost = piece[written..].iter().filter(|byte| **byte == b'\n').count() as u64;
                failed += lost;
                self.gap.write_failed += lost;
                self.gap.error = error.to_string();
            }
        }
        self.gap.queue_full += overflow;
        // Otherwise it is said before the next line.
        let _ = self.say_gap();
        failed
    }

    fn say_gap(&mut self) -> Result<(), WriteError> {
        match &self.report {
            GapReport::Line(format) => {
                let said = self.gap.lines(*format);
                // Of the line that is missing nothing was written.
                self.send(said.as_bytes()).map_err(|(_, error)| (0, error))?;
                self.gap = Gap::default();
            }
            GapReport::Log(limiter) => {
                if self.gap.log(limiter) {
                    self.gap = Gap::default();
                }
            }
        }
        Ok(())
    }

    fn send(&mut self, piece: &[u8]) -> Result<(), WriteError> {
        if self.is_torn && !piece.is_empty() {
            self.out.write_all(b"\n").map_err(|error| (0, error))?;
            self.is_torn = false;
        }
        let mut written = 0;
        while written < piece.len() {
            match self.out.write(&piece[written..]) {
                Ok(0) => return Err((written, io::ErrorKind::WriteZero.into())),
                Ok(more) => written += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err((written, error)),
            }
            self.is_torn = piece[..written].last().is_some_and(|last| *last != b'\n');
        }
        Ok(())
    }
}

impl Gap {
    /// Whether it was said.
    fn log(&self, limiter: &LogLimiter) -> bool {
        let Self { queue_full, write_failed, error } = self;
        let missing = queue_full + write_failed > 0;
        let said = missing && matches!(limiter.allow("standard output"), Some(Allowed { .. }));
        if said {
            let error = (!error.is_empty()).then_some(error);
            warn!(
                queue_full,
                write_failed,
                error,
                "lines for standard output were dropped: it is not read fast enough, or cannot be written"
            );
        }
        said
    }

    fn lines(&self, format: LogFormat) -> String {
        let mut lines = String::new();
        let mut say = |count: u64, why: &str| {
            if count > 0 {
                let what = if count == 1 { "log line was" } else { "log lines were" };
                let message = format!("{count} {what} dropped: {why}");
                lines += &line(format, Level::WARN, &message, &[("lines", count.into())]);
            }
        };
        say(self.write_failed, &format!("standard error could not be written: {}", self.error));
        say(self.queue_full, "standard error is not read fast enough");
        lines
    }
}

/// Whole lines in pieces that are written at once; a line that is too long for that is a piece of its own.
fn pieces(lines: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = lines;
    std::iter::from_fn(move || {
        let is_end = |byte: &u8| *byte == b'\n';
        let fits = rest.len().min(MAX_WRITE);
        let end = match rest[..fits].iter().rposition(is_end) {
            Some(end) => end + 1,
            None => rest.iter().position(is_end).map_or(rest.len(), |end| end + 1),
        };
        let (piece, after) = rest.split_at(end);
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

#[cfg(test)]
mod tests;
