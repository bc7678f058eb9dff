//! What commands print for a person or a script, at once. Nobody has to read on: `hotcert status | head -1` ends
//! quietly. Output that cannot be written for another reason is an error of the command.

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write as _};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

/// Nobody reads standard output any more.
static CLOSED: AtomicBool = AtomicBool::new(false);
/// Standard output could not be written.
static FAILED: AtomicBool = AtomicBool::new(false);

/// Prints a line to standard output.
#[macro_export]
macro_rules! outln {
    ($($argument:tt)*) => {
        $crate::terminal::print(::std::format_args!("{}\n", ::std::format_args!($($argument)*)))
    };
}

/// Prints a line to standard error.
#[macro_export]
macro_rules! errln {
    ($($argument:tt)*) => {
        $crate::terminal::print_error(::std::format_args!("{}\n", ::std::format_args!($($argument)*)))
    };
}

/// Prints to standard output.
pub fn print(text: Arguments<'_>) {
    let mut out = io::stdout().lock();
    match out.write_fmt(text).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => CLOSED.store(true, Ordering::Relaxed),
        Err(error) if !FAILED.swap(true, Ordering::Relaxed) => {
            errln!("error: cannot write to standard output: {error}");
        }
        _ => {}
    }
}

/// Prints to standard error. There is nowhere left to report that this fails.
pub fn print_error(text: Arguments<'_>) {
    let _ = io::stderr().lock().write_fmt(text);
}

/// Whether there is no use in printing more.
pub fn is_closed() -> bool {
    CLOSED.load(Ordering::Relaxed)
}

/// The exit code of a command that would end with `code`.
pub fn exit_code(code: ExitCode) -> ExitCode {
    if FAILED.load(Ordering::Relaxed) { ExitCode::FAILURE } else { code }
}
