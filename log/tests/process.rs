//! A process with this log: this test again, as a process of its own.

#![allow(clippy::unwrap_used)]

use std::io::Read as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hotcert_log::{LogFormat, last_words};

const PART: &str = "HOTCERT_LOG_TEST";

/// Plays its part, if this is the process that was started for it.
fn plays(part: &str, play: fn()) -> bool {
    let is_asked = std::env::var(PART).is_ok_and(|asked| asked == part);
    if is_asked {
        let _log = hotcert_log::start(LogFormat::Json).unwrap();
        play();
    }
    is_asked
}

fn start(test: &str) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", test, "--nocapture"])
        .env(PART, test)
        .env_remove("HOTCERT_LOG")
        .env_remove("RUST_BACKTRACE");
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// What it logged, if it ended well.
fn logged(test: &str) -> String {
    let mut child = start(test);
    let mut log = String::new();
    child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert!(child.wait().unwrap().success(), "{log}");
    log
}

fn panic_elsewhere() {
    let thread = std::thread::Builder::new().name("elsewhere".into());
    assert!(thread.spawn(|| panic!("no room for {}", "it")).unwrap().join().is_err());
}

#[test]
fn panic_is_a_line_of_the_log() {
    if plays("panic_is_a_line_of_the_log", panic_elsewhere) {
        return;
    }
    let log = logged("panic_is_a_line_of_the_log");
    let line: serde_json::Value = serde_json::from_str(&log).unwrap_or_else(|_| panic!("{log}"));
    let message = line["message"].as_str().unwrap();
    assert!(
        message.starts_with("thread elsewhere panicked at ") && message.ends_with(": no room for it"),
        "{log}"
    );
    assert_eq!(line["level"], "ERROR");
}

#[test]
fn last_words_come_after_everything_that_was_logged() {
    fn play() {
        for number in 0..1000 {
            tracing::warn!(target: "hotcert", number);
        }
        last_words("error: it cannot go on");
    }
    if plays("last_words_come_after_everything_that_was_logged", play) {
        return;
    }
    let log = logged("last_words_come_after_everything_that_was_logged");
    assert_eq!(log.lines().count(), 1001);
    assert_eq!(log.lines().last(), Some("error: it cannot go on"));
}

#[test]
fn nothing_waits_for_a_reader_that_never_reads_but_the_end_for_a_second() {
    fn play() {
        for number in 0..20_000 {
            tracing::warn!(target: "hotcert", number, "more of these than a pipe and the queue have room for");
        }
        panic_elsewhere();
        last_words("error: nobody reads this");
    }
    let test = "nothing_waits_for_a_reader_that_never_reads_but_the_end_for_a_second";
    if plays(test, play) {
        return;
    }
    let mut child = start(test);
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "{status}");
            return;
        }
        if Instant::now() > end {
            child.kill().unwrap();
            panic!("it waits for the reader of its log");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
