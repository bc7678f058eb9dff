//! The program `hotcert`.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// Reconciling allocates and frees thousands of small objects; this allocator returns the memory afterwards.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    hotcert::cli::main_from(std::env::args_os())
}
