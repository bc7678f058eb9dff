//! Standard error and standard output past the locks of the standard library: a thread that waits for a reader would
//! hold that lock, and stop every other that prints.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, poll};

pub struct StandardStream(File);

impl StandardStream {
    pub fn error() -> io::Result<Self> {
        Self::of(&io::stderr())
    }

    pub fn output() -> io::Result<Self> {
        Self::of(&io::stdout())
    }

    fn of(stream: &impl AsFd) -> io::Result<Self> {
        Ok(Self(stream.as_fd().try_clone_to_owned()?.into()))
    }
}

impl Write for StandardStream {
    /// Waits for room also where another process has made the shared description non-blocking.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.0.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    poll(&mut [PollFd::new(&self.0, PollFlags::OUT)], None)?;
                }
                result => return result,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
