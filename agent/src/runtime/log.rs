//! The log on standard error: its form, and how much of it.

use std::io::IsTerminal as _;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

/// The Kubernetes client logs whole answers that it cannot parse, and ours hold private keys; what goes
/// wrong with it is said by those who use it. What the watcher of files finds worth telling is that a
/// directory went that was being watched, as at every swap.
const SILENT: [&str; 3] = ["kube_client=off", "kube_runtime=off", "notify=warn"];

/// Starts the log. `HOTCERT_LOG` says how much: a bare level is about `program`, the name of its
/// crate, since what its libraries say at that level would drown it.
pub fn start(format: LogFormat, program: &str) {
    let wanted = std::env::var("HOTCERT_LOG").unwrap_or_default();
    let filter = match wanted.parse::<LevelFilter>() {
        Ok(level) if !wanted.is_empty() => EnvFilter::new(format!("warn,{program}={level}")),
        _ => EnvFilter::try_new(&wanted)
            .ok()
            .filter(|_| !wanted.is_empty())
            .unwrap_or_else(|| EnvFilter::new("info")),
    };
    let filter =
        SILENT.iter().filter_map(|silent| silent.parse().ok()).fold(filter, EnvFilter::add_directive);
    let log =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    // A second call in one process keeps the first log.
    let _ = match format {
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => {
            log.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init()
        }
    };
}
