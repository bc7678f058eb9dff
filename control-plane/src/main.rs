//! The program `hotcert`.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// Thousands of small facts are replaced one by one: this one gives back what the last round needed.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    hotcert::cli::main_from(std::env::args_os())
}
