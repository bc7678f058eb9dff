//! The `hotcert-agent` program; all of it is in the library.

fn main() -> std::process::ExitCode {
    hotcert_agent::cli::main_from(std::env::args_os())
}
