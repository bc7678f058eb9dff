//! The reference pages of the documents, made from the code: flags from clap, fields from the CRDs, rights from the
//! manifests, metrics from the registrations. `cargo run -p tests --bin reference` writes them, and a test compares
//! them, so that a page never says what the program does not do.

mod annotations;
mod conditions;
mod flags;
mod metrics;
mod objects;
mod rbac;
mod reasons;
mod rejections;

use std::path::{Path, PathBuf};

pub use metrics::{Metric, assert_documented, registered};

pub struct Page {
    pub file: &'static str,
    pub text: String,
}

/// Every page that is made from the code.
pub fn pages() -> Vec<Page> {
    let page = |file, text: String| Page { file, text };
    vec![
        page(
            "agent-flags.md",
            flags::program(&hotcert_agent::cli::command(), "The agent's flags", flags::AGENT),
        ),
        page("controller-flags.md", flags::one(&hotcert::cli::command(), "controller", flags::CONTROLLER)),
        page("commands.md", flags::commands(&hotcert::cli::command(), "controller", flags::COMMANDS)),
        page("annotations.md", annotations::page()),
        page("conditions.md", conditions::page()),
        page("metrics.md", metrics::page()),
        page("objects.md", objects::page()),
        page("rbac.md", rbac::page()),
        page("reasons.md", reasons::page()),
    ]
}

/// The folder of the pages in the repository.
pub fn folder() -> PathBuf {
    repository().join("docs/reference")
}

pub fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// In a cell of a table: one line, and no bar that would end the cell.
fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}
