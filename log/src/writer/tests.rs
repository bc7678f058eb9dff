#![allow(clippy::unwrap_used)]

use super::*;

/// Takes this many bytes, then fails until it is given more room.
#[derive(Default)]
struct Disk {
    room: usize,
    written: Vec<u8>,
    writes: Vec<usize>,
}

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let fits = bytes.len().min(self.room);
        if fits == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.room -= fits;
        self.written.extend_from_slice(&bytes[..fits]);
        self.writes.push(fits);
        Ok(fits)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn writer(room: usize) -> Writer<Disk> {
    Writer::new(Disk { room, ..Disk::default() }, GapReport::Line(LogFormat::Text))
}

/// Without times.
fn written(writer: &Writer<Disk>) -> Vec<String> {
    let text = String::from_utf8(writer.out.written.clone()).unwrap();
    text.lines()
        .map(|line| line.split_once("WARN ").map_or(line, |(_, message)| message).to_owned())
        .collect()
}

#[test]
fn a_gap_is_said_where_it_is() {
    let mut writer = writer(1 << 20);
    assert_eq!(writer.write(b"one\n", 7), 0);
    assert_eq!(writer.write(b"two\n", 1), 0);
    assert_eq!(
        written(&writer),
        [
            "one",
            "7 log lines were dropped: standard error is not read fast enough lines=7",
            "two",
            "1 log line was dropped: standard error is not read fast enough lines=1",
        ]
    );
}

#[test]
fn what_cannot_be_written_is_counted_and_said_when_it_can() {
    let mut writer = writer(0);
    assert_eq!(writer.write(b"one\ntwo\n", 0), 2);
    assert_eq!(writer.write(b"three\n", 4), 1);
    writer.out.room = 1 << 20;
    assert_eq!(writer.write(b"four\n", 0), 0);
    assert_eq!(
        written(&writer),
        [
            "3 log lines were dropped: standard error could not be written: no storage space lines=3",
            "4 log lines were dropped: standard error is not read fast enough lines=4",
            "four",
        ]
    );
    writer.write(b"five\n", 0);
    assert_eq!(written(&writer)[3..], ["five"], "said once");
}

#[test]
fn line_that_was_torn_is_lost_alone_and_the_next_begins_anew() {
    let mut writer = writer(6);
    assert_eq!(writer.write(b"one\ntwo\nthree\n", 0), 2);
    writer.out.room = 1 << 20;
    assert_eq!(writer.write(b"four\n", 0), 0);
    let lines = written(&writer);
    assert_eq!(lines[..2], ["one", "tw"]);
    assert!(lines[2].starts_with("2 log lines were dropped"), "{lines:?}");
    assert_eq!(lines[3..], ["four"]);
}

#[test]
fn lines_are_written_whole_in_pieces_that_a_pipe_does_not_tear() {
    let mut writer = writer(1 << 20);
    let short: Vec<u8> = (0..1000).flat_map(|at| format!("line {at}\n").into_bytes()).collect();
    let long = [vec![b'x'; 10_000], b"\n".to_vec()].concat();
    let lines = [short.clone(), long.clone(), short].concat();
    assert_eq!(writer.write(&lines, 0), 0);
    assert_eq!(writer.out.written, lines);
    let mut end = 0;
    for length in &writer.out.writes {
        end += length;
        assert!(*length <= MAX_WRITE || *length == long.len(), "{length}");
        assert_eq!(lines[end - 1], b'\n');
    }
    assert!(writer.out.writes.len() < 10, "{:?}", writer.out.writes);
}

#[test]
fn output_of_records_has_no_line_about_a_gap() {
    let mut writer = Writer::new(Disk { room: 8, ..Disk::default() }, GapReport::Log(LogLimiter::default()));
    assert_eq!(writer.write(b"one\n", 7), 0);
    assert_eq!(writer.write(b"two\nthree\n", 0), 1);
    writer.out.room = 1 << 20;
    assert_eq!(writer.write(b"four\n", 0), 0);
    // What was begun is ended, so that the next record is a line.
    assert_eq!(written(&writer), ["one", "two", "four"]);
}
