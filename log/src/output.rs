//! Lines on standard output that are no messages, such as an access log: by the rules of the log, through a queue and
//! a thread of their own. What is dropped leaves no line among them, so that a parser sees records alone; the log says
//! how many there were, and [`DroppedLines`](crate::DroppedLines) counts them.

use std::io;
use std::sync::OnceLock;
use std::time::Duration;

use crate::LogLimiter;
use crate::queue::{Next, Queue};
use crate::standard_stream::StandardStream;
use crate::writer::{GapReport, Writer};

/// How long lines are gathered before they are written: one write for many lines costs a busy program a fraction of what
/// one for each would, and a reader does not notice.
const GATHER_FOR: Duration = Duration::from_millis(50);

pub(crate) static OUTPUT: OnceLock<Queue> = OnceLock::new();

/// Where the lines go. Whoever pushes waits for nobody.
#[derive(Clone, Copy)]
pub struct LineOutput(&'static Queue);

impl LineOutput {
    /// Starts the thread that writes. A second call in one process returns the same.
    pub fn start() -> io::Result<Self> {
        if let Some(queue) = OUTPUT.get() {
            return Ok(Self(queue));
        }
        let writer = Writer::new(StandardStream::output()?, GapReport::Log(LogLimiter::default()));
        std::thread::Builder::new().name("output".into()).spawn(move || writer.run(OUTPUT.wait(), || ()))?;
        Ok(Self(OUTPUT.get_or_init(|| Queue::gathering(GATHER_FOR))))
    }

    /// Takes a whole line with its end, or counts it as dropped if there is no room.
    pub fn push(&self, line: &[u8]) {
        self.0.push(line);
    }

    /// For tests: a queue that nobody writes, and what is in it.
    pub fn unwritten() -> (Self, impl Fn() -> String) {
        let queue: &'static Queue = Box::leak(Box::default());
        let read = || {
            let mut lines = Vec::new();
            match queue.next(&mut lines) {
                Next::Write { .. } => String::from_utf8_lossy(&lines).into_owned(),
                Next::Report => String::new(),
            }
        };
        (Self(queue), read)
    }
}
