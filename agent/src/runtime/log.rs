//! The log on standard error: its format and level.

use std::io::IsTerminal as _;

use tracing::warn;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

pub use crate::config::args::LogFormat;

/// The Kubernetes client logs whole responses that it cannot parse, which may contain private keys; its
/// errors are logged where they are handled. The file watcher logs every removed directory, which happens
/// at every swap.
const QUIET_LIBRARIES: [&str; 3] = ["kube_client=off", "kube_runtime=off", "notify=warn"];

const DEFAULT: &str = "info";
/// The levels, as errors name them.
const LEVELS: &str = "error, warn, info, debug, trace or off";

/// Starts the log. `HOTCERT_LOG` is a level or a filter. A bare level applies to `program`, the name of its
/// crate, and not to its libraries, whose messages would drown those of the program. What cannot be a filter
/// is reported in the log, at the default level.
pub fn start(format: LogFormat, program: &str) {
    let value = std::env::var("HOTCERT_LOG").unwrap_or_default();
    let parsed = directives(&value, program).and_then(|directives| {
        EnvFilter::try_new(directives).map_err(|_| {
            format!("{value:?} is not a filter: write {LEVELS}, or targets and their levels, such as info,{program}=debug")
        })
    });
    let (filter, problem) = match parsed {
        Ok(filter) => (filter, None),
        Err(problem) => (EnvFilter::new(DEFAULT), Some(problem)),
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
    if let Some(problem) = problem {
        warn!("HOTCERT_LOG: {problem}; the level is {DEFAULT}");
    }
}

/// The directives of the filter that `value` asks for.
fn directives(value: &str, program: &str) -> Result<String, String> {
    let value = value.trim();
    if value.is_empty() {
        return Ok(DEFAULT.into());
    }
    let is_level = |part: &str| part.parse::<LevelFilter>().is_ok();
    if is_level(value) {
        return Ok(format!("warn,{program}={value}"));
    }
    let parts: Vec<_> = value.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
    // EnvFilter takes a word without a level for a target, which is most often a misspelled level and would
    // silence everything else. The fields of spans, in brackets, have commas of their own.
    let is_word = |part: &&&str| !part.contains('=') && !is_level(part);
    if !value.contains('[')
        && let Some(word) = parts.iter().find(is_word)
    {
        return Err(format!(
            "{word:?} is not a level: write {LEVELS}, or a target and its level, such as {program}=debug"
        ));
    }
    // A filter of targets alone leaves the level of everything else as it is.
    let has_level = parts.iter().any(|part| is_level(part));
    Ok(if has_level { value.to_owned() } else { format!("warn,{program}={DEFAULT},{value}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_never_silences_the_log_by_mistake() {
        for (value, expected) in [
            ("", "info"),
            ("debug", "warn,hotcert=debug"),
            ("off", "warn,hotcert=off"),
            ("warn,hyper=trace", "warn,hyper=trace"),
            ("rustls=debug", "warn,hotcert=info,rustls=debug"),
            ("hotcert=debug", "warn,hotcert=info,hotcert=debug"),
        ] {
            assert_eq!(directives(value, "hotcert"), Ok(expected.to_owned()), "{value}");
            assert!(EnvFilter::try_new(expected).is_ok(), "{expected}");
        }
        for value in ["typo", "debgu,hyper=warn"] {
            assert!(
                directives(value, "hotcert").is_err_and(|error| error.contains("is not a level")),
                "{value}"
            );
        }
        assert!(
            directives("hotcert=loud", "hotcert").is_ok_and(|filter| EnvFilter::try_new(filter).is_err())
        );
    }
}
