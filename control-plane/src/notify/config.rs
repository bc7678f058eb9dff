//! The settings of notifications: one YAML file, and beside it the files with keys that it names, as a Secret
//! is mounted (or a directory on one machine). Read anew when anything in it changes; what is wrong with it
//! changes nothing, and is said.

mod file;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hotcert_agent::tls::hex::sha256_hex;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tracing::{info, warn};
use zeroize::Zeroizing;

use crate::api::events::NotificationRules;
use crate::api::yaml;
use crate::external::http_client::Endpoint;
use crate::external::manager::Manager;
use crate::notify::receiver::EventSource;
use crate::notify::signature::Signer;
use file::{File, Validator};

/// How often it is looked at: kubelet takes longer to bring it.
const LOOK: Duration = Duration::from_secs(5);
/// Of the file, and of each that it names.
const MAX_FILE: u64 = 1 << 20;

/// All that the file says.
#[derive(Debug, Default)]
pub struct NotifyConfig {
    pub rules: Arc<NotificationRules>,
    /// By TOPIC/NAME.
    pub subscriptions: BTreeMap<String, Arc<Subscription>>,
    /// By name.
    pub senders: BTreeMap<String, EventSource>,
    /// By name.
    pub managers: BTreeMap<String, Arc<Manager>>,
    /// `whpk_…` of the keys that sign.
    pub public_keys: Vec<String>,
}

/// Where notifications go, and how they are signed.
#[derive(Debug)]
pub struct Subscription {
    pub endpoint: Endpoint,
    pub signer: Signer,
    pub headers: Headers,
    /// Of all that was written down for it.
    digest: String,
}

/// Names and values, which may be secret.
pub type Headers = Vec<(String, Zeroizing<String>)>;

impl Subscription {
    /// Nothing of it was changed.
    pub fn is_like(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

/// All that is wrong, each with its place.
#[derive(Debug)]
pub struct SettingsError {
    path: PathBuf,
    wrong: Vec<String>,
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.wrong.join("; "))
    }
}

impl std::error::Error for SettingsError {}

/// A reader of the file, and of those beside it.
struct Files {
    directory: PathBuf,
    /// Name and digest of all that was read.
    read: Vec<(String, String)>,
}

impl Files {
    /// `name` is relative to the settings' directory.
    fn read(&mut self, name: &str) -> Result<Zeroizing<Vec<u8>>, String> {
        let path = self.directory.join(name);
        let bytes = read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        self.read.push((name.to_owned(), sha256_hex(&bytes)));
        Ok(bytes)
    }
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    use std::io::Read as _;
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let meta = file.metadata().map_err(|error| error.to_string())?;
    if !meta.is_file() {
        return Err("it is no regular file".into());
    }
    if meta.len() > MAX_FILE {
        return Err(format!("it is larger than {MAX_FILE} bytes"));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(meta.len() as usize + 1));
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(format!("it is larger than {MAX_FILE} bytes"));
    }
    Ok(bytes)
}

impl NotifyConfig {
    pub fn read(path: &Path) -> Result<Self, SettingsError> {
        Self::read_with(path).0
    }

    /// And a digest of everything that was read, also of what is wrong.
    fn read_with(path: &Path) -> (Result<Self, SettingsError>, String) {
        let directory = path.parent().unwrap_or(Path::new("")).to_owned();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut files = Files { directory, read: Vec::new() };
        let judged = Self::judge(&name, &mut files);
        let digest = match &judged {
            Ok(_) => format!("{:?}", files.read),
            Err(wrong) => format!("{:?} {wrong:?}", files.read),
        };
        (
            judged.map_err(|wrong| SettingsError { path: path.to_owned(), wrong }),
            sha256_hex(digest.as_bytes()),
        )
    }

    fn judge(name: &str, files: &mut Files) -> Result<Self, Vec<String>> {
        let one = |error: String| vec![error];
        let bytes = files.read(name).map_err(one)?;
        let text = str::from_utf8(&bytes).map_err(|_| one("it is no UTF-8".into()))?;
        let value = yaml::read(text).map_err(|error| one(error.to_string()))?;
        let file: File = serde_json::from_value(value).map_err(|error| one(error.to_string()))?;
        let mut judge = Validator::new(files);
        let settings = judge.all(&file);
        if judge.wrong.is_empty() { Ok(settings) } else { Err(judge.wrong) }
    }
}

/// Whether the file as it stands could be read.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    refused: Gauge,
}

impl Counts {
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "notifications_config_rejected",
            "1 while the settings file is invalid and the last valid settings stay in force",
            self.refused.clone(),
        );
    }
}

/// The settings as they are, and as they become. Wrong at the start, they say nothing: certificates are
/// issued all the same. Needs a runtime.
pub fn follow(path: PathBuf, counts: Counts) -> watch::Receiver<Arc<NotifyConfig>> {
    follow_every(LOOK, path, counts)
}

fn follow_every(pause: Duration, path: PathBuf, counts: Counts) -> watch::Receiver<Arc<NotifyConfig>> {
    let (first, mut seen) = NotifyConfig::read_with(&path);
    counts.refused.set(first.is_err().into());
    let first = first.unwrap_or_else(|error| {
        warn!("nobody is told anything, nobody listened to and no manager known until the settings are right: {error}");
        NotifyConfig::default()
    });
    info!(settings = %path.display(), subscriptions = first.subscriptions.len(), "notifications");
    let (send, receive) = watch::channel(Arc::new(first));
    tokio::spawn(async move {
        let mut tick = tokio::time::interval(pause);
        loop {
            tokio::select! {
                () = send.closed() => return,
                _ = tick.tick() => {}
            }
            let of = path.clone();
            let looked = tokio::task::spawn_blocking(move || NotifyConfig::read_with(&of)).await;
            let Ok((settings, digest)) = looked else { continue };
            if digest == seen {
                continue;
            }
            seen = digest;
            counts.refused.set(settings.is_err().into());
            match settings {
                Ok(settings) => {
                    info!(
                        subscriptions = settings.subscriptions.len(),
                        "the settings of notifications changed"
                    );
                    send.send_replace(Arc::new(settings));
                }
                Err(error) => warn!("the settings of notifications are left as they were: {error}"),
            }
        }
    });
    receive
}

#[cfg(test)]
mod tests;
