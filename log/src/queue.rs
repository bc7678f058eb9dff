//! The queue between the program and the thread that writes its log. Whoever logs copies a line and goes on; nobody
//! waits for the writer but the end of the process.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How many bytes wait at most. As many more are being written, so that the log takes no more than 1 MiB: some 5,000
/// lines, which is what a node's runtime may fall behind by in a burst, and little beside the sidecar's memory limit.
/// The lines are in one piece of memory and cost nothing besides their bytes, so that this bounds their number, too.
const MAX_BYTES: usize = 512 << 10;
/// What an empty buffer keeps.
const KEPT: usize = 8 << 10;
/// So many bytes are written at once, however short the time is that they were gathered for.
const GATHERED_BYTES: usize = 64 << 10;

#[derive(Default)]
pub struct Queue {
    state: Mutex<State>,
    /// How long lines are gathered before they are written.
    gather_for: Duration,
    /// Awaited by the writer.
    filled: Condvar,
    /// Awaited by the end of the process.
    written: Condvar,
}

#[derive(Default)]
struct State {
    lines: Vec<u8>,
    /// Lines that came when there was no room, after those that wait. Until the writer knows of them there is no room
    /// for others either, so that what is missing is missing in one place.
    overflow: u64,
    /// The writer is asleep.
    waits: bool,
    /// The writer is asleep until its time, or until there are many lines.
    gathers: bool,
    /// Nothing is gathered any more, because the process ends.
    ends: bool,
    /// The writer has lines that it has not written.
    writes: bool,
    report_at: Option<Instant>,
    dropped: Dropped,
}

/// Lines that were not written since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    pub queue_full: u64,
    pub write_failed: u64,
}

/// What the writer has to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// To write the lines, and to say that as many were dropped after them.
    Write { overflow: u64 },
    /// The time has come that was set by [`Queue::report_at`].
    Report,
}

impl Queue {
    /// One whose lines are written together with those that come within this time.
    pub fn gathering(gather_for: Duration) -> Self {
        Self { gather_for, ..Self::default() }
    }

    /// Takes a line that waits to be written, or counts it if there is no room.
    pub fn push(&self, line: &[u8]) {
        let mut state = self.lock();
        state.push(line);
        self.wake(state);
    }

    /// Has the writer report at this time, unless it is about to do so earlier.
    pub fn report_at(&self, at: Instant) {
        let mut state = self.lock();
        if state.report_at.is_none_or(|earlier| at < earlier) {
            state.report_at = Some(at);
            self.wake(state);
        }
    }

    fn wake(&self, mut state: MutexGuard<'_, State>) {
        let many = state.gathers && (state.lines.len() >= GATHERED_BYTES || state.overflow > 0);
        if many {
            state.gathers = false;
        }
        let wakes = std::mem::take(&mut state.waits) || many;
        drop(state);
        if wakes {
            self.filled.notify_one();
        }
    }

    /// Waits until there is something to do. Replaces `lines`, which have been written.
    pub fn next(&self, lines: &mut Vec<u8>) -> Next {
        lines.clear();
        lines.shrink_to(KEPT);
        let mut state = self.lock();
        state.writes = false;
        self.written.notify_all();
        let mut due = None;
        loop {
            let now = Instant::now();
            if state.report_at.is_some_and(|at| at <= now) {
                state.report_at = None;
                return Next::Report;
            }
            if state.has_work() {
                let due = *due.get_or_insert(now + self.gather_for);
                if now < due && state.gathers_on() {
                    state.gathers = true;
                    let waited = self.filled.wait_timeout(state, due - now);
                    state = waited.unwrap_or_else(PoisonError::into_inner).0;
                    continue;
                }
                state.gathers = false;
                state.writes = true;
                std::mem::swap(&mut state.lines, lines);
                return Next::Write { overflow: std::mem::take(&mut state.overflow) };
            }
            state.waits = true;
            state = match state.report_at {
                Some(at) => {
                    let waited = self.filled.wait_timeout(state, at.duration_since(now));
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.filled.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Counts lines that could not be written.
    pub fn count_failed(&self, lines: u64) {
        self.lock().dropped.write_failed += lines;
    }

    pub fn dropped(&self) -> Dropped {
        self.lock().dropped
    }

    /// Waits until everything is written, or for this long.
    pub fn flush(&self, timeout: Duration) {
        let is_busy = |state: &mut State| state.writes || state.has_work();
        let mut state = self.lock();
        state.ends = true;
        self.filled.notify_one();
        drop(self.written.wait_timeout_while(state, timeout, is_busy));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn has_work(&self) -> bool {
        !self.lines.is_empty() || self.overflow > 0
    }

    /// Whether there is a use in waiting for more lines.
    fn gathers_on(&self) -> bool {
        !self.ends && self.overflow == 0 && self.lines.len() < GATHERED_BYTES
    }

    fn push(&mut self, line: &[u8]) {
        let length = self.lines.len() + line.len();
        if self.overflow > 0 || length > MAX_BYTES {
            self.overflow += 1;
            self.dropped.queue_full += 1;
            return;
        }
        if length > self.lines.capacity() {
            // Doubled, but not beyond the limit.
            let capacity = (2 * self.lines.capacity()).clamp(length, MAX_BYTES);
            self.lines.reserve_exact(capacity - self.lines.len());
        }
        self.lines.extend_from_slice(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &[u8] = b"a line of the log\n";

    fn written(queue: &Queue) -> (Vec<u8>, u64) {
        let mut lines = Vec::new();
        match queue.next(&mut lines) {
            Next::Write { overflow } => (lines, overflow),
            Next::Report => panic!("there is nothing to report"),
        }
    }

    #[test]
    fn lines_come_out_as_they_went_in() {
        let queue = Queue::default();
        queue.push(b"one\n");
        queue.push(b"two\n");
        assert_eq!(written(&queue), (b"one\ntwo\n".to_vec(), 0));
        queue.push(b"three\n");
        assert_eq!(written(&queue), (b"three\n".to_vec(), 0));
        assert_eq!(queue.dropped(), Dropped::default());
    }

    #[test]
    fn what_there_is_no_room_for_is_counted_once_and_leaves_one_gap() {
        let queue = Queue::default();
        let fits = MAX_BYTES / LINE.len();
        for _ in 0..fits + 5 {
            queue.push(LINE);
        }
        // It would fit, but after a gap that has not been said.
        queue.push(b"\n");
        let (lines, overflow) = written(&queue);
        assert_eq!((lines.len(), overflow), (fits * LINE.len(), 6));
        assert_eq!(queue.dropped(), Dropped { queue_full: 6, write_failed: 0 });
        queue.push(LINE);
        assert_eq!(written(&queue), (LINE.to_vec(), 0));
    }

    #[test]
    fn memory_is_bounded_when_it_is_full_and_small_when_it_is_empty() {
        let queue = Queue::default();
        // Of a length at which doubling would go past the limit.
        let line = [b'x'; 3001];
        for _ in 0..1000 {
            queue.push(&line);
        }
        assert!(queue.lock().lines.capacity() <= MAX_BYTES);
        let mut lines = Vec::new();
        for _ in 0..2 {
            queue.next(&mut lines);
            queue.push(LINE);
        }
        assert!(queue.lock().lines.capacity() <= KEPT && lines.capacity() <= MAX_BYTES);
        queue.next(&mut lines);
        assert!(queue.lock().lines.capacity() <= KEPT && lines.capacity() <= KEPT);
    }

    #[test]
    fn line_that_is_longer_than_the_queue_is_a_gap_that_wakes_the_writer() {
        let queue = Queue::default();
        queue.push(&vec![b'x'; MAX_BYTES + 1]);
        assert_eq!(written(&queue), (Vec::new(), 1));
    }

    #[test]
    fn flush_waits_for_what_is_being_written_but_not_for_ever() {
        let queue = Queue::default();
        queue.flush(Duration::from_secs(60));
        queue.push(LINE);
        let begin = Instant::now();
        queue.flush(Duration::from_millis(20));
        assert!(begin.elapsed() >= Duration::from_millis(20), "not taken");
        let mut lines = Vec::new();
        queue.next(&mut lines);
        let begin = Instant::now();
        queue.flush(Duration::from_millis(20));
        assert!(begin.elapsed() >= Duration::from_millis(20), "not written");
        std::thread::scope(|scope| {
            // Asleep until it is told to end.
            let writer = scope.spawn(|| queue.next(&mut lines));
            queue.flush(Duration::from_secs(60));
            queue.push(LINE);
            assert!(writer.join().is_ok_and(|next| next == Next::Write { overflow: 0 }));
        });
    }

    #[test]
    fn lines_are_gathered_for_their_time_or_until_there_are_many_or_the_process_ends() {
        let gathering = |time| Queue::gathering(Duration::from_secs(time));
        let queue = Queue::gathering(Duration::from_millis(20));
        queue.push(LINE);
        let begin = Instant::now();
        assert_eq!(written(&queue), (LINE.to_vec(), 0));
        assert!(begin.elapsed() >= Duration::from_millis(20));

        let queue = gathering(600);
        let many = GATHERED_BYTES.div_ceil(LINE.len());
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| written(&queue).0.len());
            for _ in 0..many {
                queue.push(LINE);
            }
            assert_eq!(writer.join().ok(), Some(many * LINE.len()));
        });

        let queue = gathering(600);
        queue.push(LINE);
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let lines = written(&queue).0;
                // Written, and nothing is left.
                queue.push(b"");
                lines
            });
            queue.flush(Duration::from_millis(1));
            assert_eq!(writer.join().ok(), Some(LINE.to_vec()));
        });
    }

    #[test]
    fn report_is_due_at_its_time_whatever_else_there_is() {
        let queue = Queue::default();
        queue.report_at(Instant::now() + Duration::from_millis(5));
        queue.report_at(Instant::now() + Duration::from_secs(600));
        assert_eq!(queue.next(&mut Vec::new()), Next::Report);
        queue.push(LINE);
        queue.report_at(Instant::now());
        assert_eq!(queue.next(&mut Vec::new()), Next::Report);
        assert_eq!(written(&queue), (LINE.to_vec(), 0));
    }
}
