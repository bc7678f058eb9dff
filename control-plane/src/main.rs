//! The program `hotcert`.

use std::process::ExitCode;

fn main() -> ExitCode {
    hotcert::cli::main_from(std::env::args_os())
}
