//! The access log: one line of JSON on standard output for each HTTP request, and for each connection that carries bytes.
//! What is told is gathered while the traffic goes on and written when it has ended, whichever way. Lines go through the
//! bounded queue of [`LineOutput`], so they hold nothing up; what does not fit is dropped and counted.
//!
//! All that peers can choose is escaped and cut to a length, so that a line is a line and is not long.

mod counted_stream;
mod entry;
mod json;
mod observed_route;
mod trace;

use std::cell::RefCell;

use hotcert_log::LineOutput;

use entry::Entry;

pub use counted_stream::CountedStream;
pub use entry::Transferred;
pub use observed_route::{ConnectionRecord, ObservedRoute, RequestRecord};

thread_local! {
    /// In which the lines of a thread are written.
    static LINE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Where the lines go, and what they have.
#[derive(Clone, Copy)]
pub struct AccessLog {
    pub output: LineOutput,
    /// Whether paths are shown with their queries.
    pub queries: bool,
}

impl AccessLog {
    fn write(&self, entry: &Entry) {
        // At the end of a thread there is none any more.
        let _ = LINE.try_with(|line| {
            let mut line = line.borrow_mut();
            line.clear();
            entry.write(&mut line, self.queries);
            self.output.push(line.as_bytes());
        });
    }
}
