//! The program `hotcert`.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// Reconciling allocates and frees thousands of small objects; this allocator returns the memory afterwards.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    // The allocator asks for pages of 2 MiB, which stay whole where little of each is in use: a controller of few
    // certificates took twice the memory. Where it cannot be told so, it takes more.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    hotcert::cli::main_from(std::env::args_os())
}
