//! The log on standard error: its format and level.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

pub use crate::config::args::LogFormat;

/// The Kubernetes client logs whole responses that it cannot parse, which may contain private keys; its
/// errors are logged where they are handled. The file watcher logs every removed directory, which happens
/// at every swap.
const QUIET_LIBRARIES: [&str; 3] = ["kube_client=off", "kube_runtime=off", "notify=warn"];

/// Starts the log. `HOTCERT_LOG` is a level or a filter. A bare level applies to `program`, the name of its
/// crate, and not to its libraries, whose messages would drown those of the program.
pub fn start(format: LogFormat, program: &str) {
    let directives = std::env::var("HOTCERT_LOG").unwrap_or_default();
    let filter = match directives.parse::<LevelFilter>() {
        Ok(level) if !directives.is_empty() => EnvFilter::new(format!("warn,{program}={level}")),
        _ => EnvFilter::try_new(&directives)
            .ok()
            .filter(|_| !directives.is_empty())
            .unwrap_or_else(|| EnvFilter::new("info")),
    };
    let filter = QUIET_LIBRARIES
        .iter()
        .filter_map(|directive| directive.parse().ok())
        .fold(filter, EnvFilter::add_directive);
    let log =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    // A second call in one process has no effect.
    let _ = match format {
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => {
            log.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init()
        }
    };
}
