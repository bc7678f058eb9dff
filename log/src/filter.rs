//! What is logged: the levels that `HOTCERT_LOG` asks for.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// The Kubernetes client logs whole responses that it cannot parse, which may contain private keys; its
/// errors are logged where they are handled. The file watcher logs every removed directory, which happens
/// at every swap.
const QUIET_LIBRARIES: [&str; 3] = ["kube_client=off", "kube_runtime=off", "notify=warn"];

/// The crates whose names begin so are ours.
pub const PROGRAM: &str = "hotcert";
pub const DEFAULT: &str = "info";
/// The levels, as errors name them.
const LEVELS: &str = "error, warn, info, debug, trace or off";

pub struct Filter {
    pub directives: EnvFilter,
    /// The targets that have a level of their own, by which their names begin.
    pub named_targets: Vec<String>,
    /// Why it is the default instead of what was asked for.
    pub problem: Option<String>,
}

impl Filter {
    pub fn from_environment() -> Self {
        Self::new(&std::env::var("HOTCERT_LOG").unwrap_or_default())
    }

    fn new(value: &str) -> Self {
        let parsed = directives(value).and_then(|directives| {
            EnvFilter::try_new(directives).map_err(|_| {
                format!("{value:?} is not a filter: write {LEVELS}, or targets and their levels, such as info,{PROGRAM}=debug")
            })
        });
        let (filter, named_targets, problem) = match parsed {
            Ok(filter) => (filter, named_targets(value), None),
            Err(problem) => (EnvFilter::new(DEFAULT), Vec::new(), Some(problem)),
        };
        let directives = QUIET_LIBRARIES
            .iter()
            .filter_map(|directive| directive.parse().ok())
            .fold(filter, EnvFilter::add_directive);
        Self { directives, named_targets, problem }
    }
}

/// The directives of the filter that `value` asks for.
fn directives(value: &str) -> Result<String, String> {
    let value = value.trim();
    if value.is_empty() {
        return Ok(DEFAULT.into());
    }
    let is_level = |part: &str| part.parse::<LevelFilter>().is_ok();
    if is_level(value) {
        return Ok(format!("warn,{PROGRAM}={value}"));
    }
    let parts: Vec<_> = value.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
    // EnvFilter takes a word without a level for a target, which is most often a misspelled level and would
    // silence everything else. The fields of spans, in brackets, have commas of their own.
    let is_word = |part: &&&str| !part.contains('=') && !is_level(part);
    if !value.contains('[')
        && let Some(word) = parts.iter().find(is_word)
    {
        return Err(format!(
            "{word:?} is not a level: write {LEVELS}, or a target and its level, such as {PROGRAM}=debug"
        ));
    }
    // A filter of targets alone leaves the level of everything else as it is.
    let has_level = parts.iter().any(|part| is_level(part));
    Ok(if has_level { value.to_owned() } else { format!("warn,{PROGRAM}={DEFAULT},{value}") })
}

fn named_targets(value: &str) -> Vec<String> {
    let target = |part: &str| Some(part[..part.find(['=', '['])?].trim().to_owned());
    value.split(',').filter_map(target).filter(|target| !target.is_empty()).collect()
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
            assert_eq!(directives(value), Ok(expected.to_owned()), "{value}");
            assert!(EnvFilter::try_new(expected).is_ok(), "{expected}");
        }
        for value in ["typo", "debgu,hyper=warn"] {
            assert!(directives(value).is_err_and(|error| error.contains("is not a level")), "{value}");
        }
        assert!(directives("hotcert=loud").is_ok_and(|filter| EnvFilter::try_new(filter).is_err()));
    }

    #[test]
    fn a_target_is_named_by_a_level_of_its_own_alone() {
        for (value, named) in [
            ("", &[][..]),
            ("debug", &[]),
            ("warn,hyper=trace", &["hyper"]),
            ("h2::proto=warn,hotcert[span]=debug,[other]=trace", &["h2::proto", "hotcert"]),
        ] {
            assert_eq!(Filter::new(value).named_targets, named, "{value}");
        }
        assert!(Filter::new("hyper=loud").named_targets.is_empty());
    }
}
