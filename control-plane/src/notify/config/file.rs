//! The settings file as a whole: read with the files it names, and validated.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::senders::{SenderItem, senders};
use super::topics::{Subscriptions, TopicItem, topics};
use crate::api::notification::{NotificationRules, Topic};
use crate::api::yaml::lines::Lines;
use crate::api::yaml::{self, lines};
use crate::digest::sha256_hex;
use crate::external::config::{ConfigFiles, ManagerItem, Validator, managers};
use crate::external::manager::Managers;
use crate::notify::event_source::EventSource;

const SOURCE: &str = "urn:hotcert";
const THRESHOLDS: [&str; 8] = ["90d", "60d", "30d", "10d", "1d", "1h", "10m", "1m"];
const MAX_THRESHOLDS: usize = 100;
/// How many errors a status names.
const MAX_NAMED: usize = 5;
const STUCK_AFTER: Duration = Duration::from_secs(60 * 60);

/// The settings, validated.
#[derive(Debug, Default)]
pub struct NotifyConfig {
    pub rules: Arc<NotificationRules>,
    pub subscriptions: Subscriptions,
    /// By name.
    pub senders: BTreeMap<String, EventSource>,
    pub managers: Arc<Managers>,
    /// `whpk_…` of the keys that sign.
    pub public_keys: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    /// A URI: `source` of every event.
    source: Option<String>,
    thresholds: Option<Vec<String>>,
    stuck_after: Option<String>,
    #[serde(default)]
    topics: Vec<TopicItem>,
    #[serde(default)]
    senders: Vec<SenderItem>,
    #[serde(default)]
    managers: Vec<ManagerItem>,
}

/// Every error in the settings, each with its position.
#[derive(Debug)]
pub struct ConfigError {
    path: PathBuf,
    pub(super) errors: Vec<Located>,
}

/// An error, and its line in the settings file if it has one.
#[derive(Debug)]
pub(super) struct Located {
    pub line: Option<u64>,
    pub error: String,
}

impl NotifyConfig {
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        Self::read_with_digest(path).0
    }

    /// With a digest of everything that was read, and of the errors if there are any.
    pub(super) fn read_with_digest(path: &Path) -> (Result<Self, ConfigError>, String) {
        let directory = path.parent().unwrap_or(Path::new("")).to_owned();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut files = ConfigFiles::new(directory);
        let config = parse(&name, &mut files);
        let digest = format!("{:?} {:?}", files.digests(), config.as_ref().err());
        let config = config.map_err(|errors| ConfigError { path: path.to_owned(), errors });
        (config, sha256_hex(digest.as_bytes()))
    }
}

fn parse(name: &str, files: &mut ConfigFiles) -> Result<NotifyConfig, Vec<Located>> {
    let only = |line: Option<u64>, error: String| vec![Located { line, error }];
    let bytes = files.read(name).map_err(|error| only(None, error))?;
    let text = str::from_utf8(&bytes).map_err(|_| only(None, "not UTF-8".into()))?;
    let value = yaml::read_strict(text).map_err(|error| only(lines::of_error(&error), error.to_string()))?;
    let file: File = serde_json::from_value(value)
        .map_err(|error| only(lines::of_mismatch::<File>(text), error.to_string()))?;
    let mut validator = Validator::new(files);
    let config = validate(&mut validator, &file);
    validator.finish(config).map_err(|errors| {
        let lines = Lines::read(text);
        let line = |error: &str| lines.of(error.split_once(": ").map_or(error, |(position, _)| position));
        errors.into_iter().map(|error| Located { line: line(&error), error }).collect()
    })
}

fn validate(validator: &mut Validator<'_>, file: &File) -> NotifyConfig {
    let (topics, subscriptions) = topics(validator, &file.topics);
    let alerting = subscriptions.iter().filter(|(_, subscription)| subscription.format.repeat().is_some());
    let alerting = alerting.map(|(id, _)| id.clone()).collect();
    let rules = Arc::new(NotificationRules { alerting, ..rules(validator, file, topics) });
    let senders = senders(validator, &file.senders);
    let managers = Arc::new(managers(validator, &file.managers));
    let signers = subscriptions.values().map(|subscription| &subscription.signer);
    let mut public_keys: Vec<_> = signers.flat_map(|signer| signer.public_keys()).collect();
    public_keys.sort();
    public_keys.dedup();
    NotifyConfig { rules, subscriptions, senders, managers, public_keys }
}

fn rules(validator: &mut Validator<'_>, file: &File, topics: Vec<Topic>) -> NotificationRules {
    let thresholds = match &file.thresholds {
        Some(thresholds) => thresholds.iter().map(String::as_str).collect(),
        None => THRESHOLDS.to_vec(),
    };
    let thresholds = thresholds.into_iter().filter_map(|text| validator.duration("thresholds", text));
    let mut thresholds: Vec<_> = thresholds.collect();
    thresholds.sort_by(|a, b| b.cmp(a));
    thresholds.dedup();
    if thresholds.len() > MAX_THRESHOLDS {
        validator.error("thresholds", format!("more than {MAX_THRESHOLDS} items"));
    }
    let stuck_after = file.stuck_after.as_deref().and_then(|text| validator.duration("stuckAfter", text));
    let source = file.source.clone().unwrap_or_else(|| SOURCE.into());
    if source.is_empty() || source.len() > 512 || source.contains(char::is_whitespace) {
        validator.error("source", "not a URI, such as urn:hotcert:prod");
    }
    let stuck_after = stuck_after.unwrap_or(STUCK_AFTER);
    NotificationRules { source, thresholds, stuck_after, topics, ..NotificationRules::default() }
}

impl ConfigError {
    /// The first errors, for a status; the log has all of them.
    pub(super) fn summary(&self) -> String {
        let named: Vec<_> = self.errors.iter().take(MAX_NAMED).map(|error| self.located(error)).collect();
        let more = self.errors.len() - named.len();
        let more = if more > 0 { format!("; and {more} more, see the log") } else { String::new() };
        format!("{}{more}", named.join("; "))
    }

    /// `FILE:LINE: ERROR`.
    fn located(&self, Located { line, error }: &Located) -> String {
        let line = line.map(|line| format!(":{line}")).unwrap_or_default();
        format!("{}{line}: {error}", self.path.display())
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let errors: Vec<_> = self.errors.iter().map(|error| self.located(error)).collect();
        f.write_str(&errors.join("; "))
    }
}

impl std::error::Error for ConfigError {}
