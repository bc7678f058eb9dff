//! What a program writes to its standard error, read line by line for as long as a scenario wants it to be read.

use std::io::{BufRead as _, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex};

/// Where a program logs to a pipe: the lines so far, and the end that reads.
#[derive(Clone, Default)]
pub struct Log(Arc<Shared>);

#[derive(Default)]
struct Shared {
    lines: Mutex<Vec<String>>,
    reader: Mutex<Reader>,
    changed: Condvar,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Reader {
    #[default]
    Reads,
    /// Holds the pipe open.
    Waits,
    Closes,
}

impl Log {
    pub fn of(pipe: impl Read + Send + 'static) -> Self {
        let log = Self::default();
        let shared = Arc::clone(&log.0);
        std::thread::spawn(move || shared.read(pipe));
        log
    }

    /// Reads no more than one line and what a buffer holds, and leaves the pipe open.
    pub fn hold(&self) {
        self.0.set(Reader::Waits);
    }

    pub fn read_on(&self) {
        self.0.set(Reader::Reads);
    }

    /// Closes the pipe, after one line more at most.
    pub fn close(&self) {
        self.0.set(Reader::Closes);
    }

    pub fn lines(&self) -> Vec<String> {
        self.0.lines.lock().unwrap().clone()
    }
}

impl Shared {
    fn set(&self, reader: Reader) {
        *self.reader.lock().unwrap() = reader;
        self.changed.notify_all();
    }

    fn read(&self, pipe: impl Read) {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            self.lines.lock().unwrap().push(line);
            let waits = |reader: &mut Reader| *reader == Reader::Waits;
            let reader = self.changed.wait_while(self.reader.lock().unwrap(), waits).unwrap();
            if *reader == Reader::Closes {
                return;
            }
        }
    }
}
