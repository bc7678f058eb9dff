//! The program `hotcert`.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Pages of 2 MiB stay whole where little of each is in use: a controller of few certificates took twice the memory.
    // Where the kernel cannot be told so, it takes more.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    hotcert::cli::main_from(std::env::args_os())
}
