//! The file as a person writes it, and the judgement of it: everything that is wrong is said at once.

mod managers;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use hotcert_agent::tls::hex::sha256_hex;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{Files, Headers, NotifyConfig, Subscription};
use crate::api::events::{EventKind, NotificationRules, Pattern, Severity, Topic};
use crate::external::http_client::{AddressPolicy, Endpoint, Network};
use crate::notify::receiver::{Credential, EventSource, Keys, Provider, What};
use crate::notify::signature::{Signer, Verifier};

const SOURCE: &str = "urn:hotcert";
const THRESHOLDS: [&str; 8] = ["90d", "60d", "30d", "10d", "1d", "1h", "10m", "1m"];
const STUCK_AFTER: Duration = Duration::from_secs(60 * 60);
/// More than anybody writes by hand.
const MOST: usize = 100;
const MOST_NAMES: usize = 10_000;
const SHORTEST_SECRET: usize = 16;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct File {
    /// A URI: who speaks.
    source: Option<String>,
    thresholds: Option<Vec<String>>,
    stuck_after: Option<String>,
    #[serde(default)]
    topics: Vec<TopicFile>,
    #[serde(default)]
    senders: Vec<SenderFile>,
    #[serde(default)]
    managers: Vec<managers::ManagerFile>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TopicFile {
    name: String,
    events: Option<Vec<String>>,
    names: Option<Vec<String>>,
    severity: Option<String>,
    #[serde(default)]
    subscriptions: Vec<SubscriptionFile>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SubscriptionFile {
    name: String,
    /// The address, or a file with it: many are secrets themselves.
    url: Option<String>,
    url_file: Option<String>,
    /// Files with keys that sign.
    #[serde(default)]
    keys: Vec<String>,
    /// A file with the roots of its certificate.
    ca: Option<String>,
    #[serde(default)]
    allow_networks: Vec<String>,
    /// Header, and a file with its value.
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SenderFile {
    name: String,
    provider: ProviderName,
    /// CRN of the instance, or source of the CloudEvents.
    instance: String,
    /// Files with keys that it signs with.
    #[serde(default)]
    keys: Vec<String>,
    /// Where its key is served.
    key_url: Option<String>,
    ca: Option<String>,
    #[serde(default)]
    allow_networks: Vec<String>,
    /// A header, and a file with what is in it.
    header: Option<HeaderFile>,
    /// Names of its client certificate.
    #[serde(default)]
    clients: Vec<String>,
    events: Option<Vec<String>>,
    names: Option<Vec<String>>,
    /// What it calls ours.
    #[serde(default)]
    certificates: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum ProviderName {
    Standard,
    IbmCertificateManager,
    IbmSecretsManager,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct HeaderFile {
    name: String,
    file: String,
}

pub struct Validator<'f> {
    files: &'f mut Files,
    pub wrong: Vec<String>,
}

impl<'f> Validator<'f> {
    pub fn new(files: &'f mut Files) -> Self {
        Self { files, wrong: Vec::new() }
    }

    /// Of use only if nothing is wrong.
    pub fn all(&mut self, file: &File) -> NotifyConfig {
        let thresholds = match &file.thresholds {
            Some(given) => given.iter().map(String::as_str).collect(),
            None => THRESHOLDS.to_vec(),
        };
        let thresholds = thresholds.into_iter().filter_map(|text| self.duration("thresholds", text));
        let mut thresholds: Vec<_> = thresholds.collect();
        thresholds.sort_by(|a, b| b.cmp(a));
        thresholds.dedup();
        let stuck_after = file.stuck_after.as_deref().and_then(|text| self.duration("stuckAfter", text));
        let source = file.source.clone().unwrap_or_else(|| SOURCE.into());
        if source.is_empty() || source.len() > 512 || source.contains(char::is_whitespace) {
            self.add("source", "it is no URI, such as urn:hotcert:prod");
        }
        if thresholds.len() > MOST {
            self.add("thresholds", format!("there are more than {MOST}"));
        }
        let mut subscriptions = BTreeMap::new();
        let topics = self.topics(&file.topics, &mut subscriptions);
        let senders = self.senders(&file.senders);
        let managers = self.managers(&file.managers);
        let mut public_keys: Vec<_> =
            subscriptions.values().flat_map(|of: &Arc<Subscription>| of.signer.public_keys()).collect();
        public_keys.sort();
        public_keys.dedup();
        let stuck_after = stuck_after.unwrap_or(STUCK_AFTER);
        let rules = Arc::new(NotificationRules { source, thresholds, stuck_after, topics });
        NotifyConfig { rules, subscriptions, senders, managers, public_keys }
    }

    fn topics(
        &mut self,
        files: &[TopicFile],
        subscriptions: &mut BTreeMap<String, Arc<Subscription>>,
    ) -> Vec<Topic> {
        let mut topics = Vec::new();
        let mut names = BTreeSet::new();
        for (at, file) in self.each("topics", files) {
            self.name(&at, &file.name, &mut names);
            let events: Vec<EventKind> = match &file.events {
                Some(given) => self.words(&format!("{at}.events"), given),
                None => EventKind::all().collect(),
            };
            let patterns = match &file.names {
                Some(given) => self.words(&format!("{at}.names"), given),
                None => vec![Pattern::any()],
            };
            let severity = file.severity.as_deref();
            let severity = severity.and_then(|text| self.word(&format!("{at}.severity"), text));
            let mut topic = Topic {
                name: file.name.clone(),
                events: events.into_iter().collect(),
                names: patterns,
                severity: severity.unwrap_or(Severity::Info),
                subscriptions: Vec::new(),
            };
            let mut own = BTreeSet::new();
            if file.subscriptions.is_empty() {
                self.add(&format!("{at}.subscriptions"), "nobody subscribes to it: say where to deliver");
            }
            for (at, file) in self.each(&format!("{at}.subscriptions"), &file.subscriptions) {
                self.name(&at, &file.name, &mut own);
                let id = format!("{}/{}", topic.name, file.name);
                if let Some(subscription) = self.subscription(&at, file) {
                    subscriptions.insert(id.clone(), Arc::new(subscription));
                }
                topic.subscriptions.push(id);
            }
            topics.push(topic);
        }
        topics
    }

    fn subscription(&mut self, at: &str, file: &SubscriptionFile) -> Option<Subscription> {
        let begin = self.files.read.len();
        let url = match (&file.url, &file.url_file) {
            (Some(url), None) => Zeroizing::new(url.clone()),
            (None, Some(name)) => self.text(&format!("{at}.urlFile"), name)?,
            _ => {
                self.add(at, "give either url or urlFile");
                return None;
            }
        };
        let keys: Vec<_> =
            file.keys.iter().filter_map(|name| self.bytes(&format!("{at}.keys"), name)).collect();
        if file.keys.is_empty() {
            self.add(&format!("{at}.keys"), "name a file with a key that signs: whsec_…, or an Ed25519 key");
        }
        let signer = Signer::parse(keys.iter().map(|key| key.as_slice()));
        let signer = signer.map_err(|error| self.add(&format!("{at}.keys"), error)).ok()?;
        let headers = self.headers(&format!("{at}.headers"), &file.headers);
        let endpoint = self.endpoint(at, &url, file.ca.as_deref(), &file.allow_networks)?;
        let digest = format!("{file:?} {:?}", &self.files.read[begin..]);
        Some(Subscription { endpoint, signer, headers, digest: sha256_hex(digest.as_bytes()) })
    }

    fn senders(&mut self, files: &[SenderFile]) -> BTreeMap<String, EventSource> {
        let mut senders = BTreeMap::new();
        let mut names = BTreeSet::new();
        for (at, file) in self.each("senders", files) {
            self.name(&at, &file.name, &mut names);
            if file.instance.is_empty() || file.instance.len() > 1024 {
                self.add(&format!("{at}.instance"), "name the one instance that is listened to");
            }
            let events = match &file.events {
                Some(given) => self.words(&format!("{at}.events"), given),
                None => What::all(),
            };
            let names = match &file.names {
                Some(given) => self.words(&format!("{at}.names"), given),
                None => vec![Pattern::any()],
            };
            if file.certificates.len() > MOST_NAMES {
                self.add(&format!("{at}.certificates"), format!("there are more than {MOST_NAMES}"));
            }
            if let Some(form) = self.form(&at, file) {
                let (instance, certificates) = (file.instance.clone(), file.certificates.clone());
                senders
                    .insert(file.name.clone(), EventSource { form, instance, events, names, certificates });
            }
        }
        senders
    }

    /// How a sender is known. What its form has no use for is a mistake.
    fn form(&mut self, at: &str, file: &SenderFile) -> Option<Provider> {
        let is_signed = file.provider != ProviderName::IbmSecretsManager;
        if is_signed && (file.header.is_some() || !file.clients.is_empty()) {
            self.add(at, "this provider signs its messages: header and clients are for ibm-secrets-manager");
        }
        if file.provider != ProviderName::IbmCertificateManager && file.key_url.is_some() {
            self.add(at, "keyUrl is for ibm-certificate-manager");
        }
        let keys: Vec<_> =
            file.keys.iter().filter_map(|name| self.bytes(&format!("{at}.keys"), name)).collect();
        if keys.len() < file.keys.len() {
            return None;
        }
        let pems = keys.iter().map(|key| key.as_slice());
        let wrong = |judge: &mut Self, error: String| judge.add(&format!("{at}.keys"), error);
        match file.provider {
            ProviderName::Standard if keys.is_empty() => {
                wrong(self, "name a file with a key: whsec_…, or the sender's whpk_…".into());
                None
            }
            ProviderName::Standard => {
                let verifier = Verifier::parse(pems).map_err(|error| wrong(self, error.to_string()));
                verifier.ok().map(Provider::Standard)
            }
            ProviderName::IbmCertificateManager => match (&file.key_url, keys.is_empty()) {
                (None, false) => {
                    Keys::of(pems).map_err(|error| wrong(self, error)).ok().map(Provider::CertificateManager)
                }
                (Some(url), true) => {
                    let endpoint = self.endpoint(at, url, file.ca.as_deref(), &file.allow_networks)?;
                    Some(Provider::CertificateManager(Keys::at(endpoint)))
                }
                _ => {
                    wrong(self, "give either keys, files with its public key in PEM, or keyUrl".into());
                    None
                }
            },
            ProviderName::IbmSecretsManager => match (&file.header, file.clients.is_empty()) {
                (Some(header), true) if keys.is_empty() => {
                    let value = self.text(&format!("{at}.header"), &header.file)?;
                    if value.len() < SHORTEST_SECRET {
                        let said =
                            format!("a secret of less than {SHORTEST_SECRET} characters can be guessed");
                        self.add(&format!("{at}.header"), said);
                    }
                    let (name, sha256) = (header.name.to_ascii_lowercase(), sha256_hex(value.as_bytes()));
                    Some(Provider::SecretsManager(Credential::Header { name, sha256 }))
                }
                (None, false) if keys.is_empty() => {
                    let clients = self.words(&format!("{at}.clients"), &file.clients);
                    Some(Provider::SecretsManager(Credential::Client(clients)))
                }
                _ => {
                    self.add(at, "messages of this provider are not signed: give either header, a secret, or clients (mTLS), and no keys");
                    None
                }
            },
        }
    }

    fn endpoint(&mut self, at: &str, url: &str, ca: Option<&str>, networks: &[String]) -> Option<Endpoint> {
        let reach =
            AddressPolicy { allowed: self.words::<Network, _>(&format!("{at}.allowNetworks"), networks) };
        let roots = match ca {
            Some(name) => Some(self.bytes(&format!("{at}.ca"), name)?),
            None => None,
        };
        let endpoint = Endpoint::new(url.trim(), reach, roots.as_ref().map(|roots| roots.as_slice()));
        endpoint.map_err(|error| self.add(at, error)).ok()
    }

    fn headers(&mut self, at: &str, files: &BTreeMap<String, String>) -> Headers {
        let mut headers = Headers::new();
        for (name, file) in files {
            let at = format!("{at}.{name}");
            if hyper::header::HeaderName::from_str(name).is_err() || name.len() > 128 {
                self.add(&at, "it is no name of a header");
            } else if let Some(value) = self.text(&at, file) {
                if hyper::header::HeaderValue::from_str(&value).is_err() {
                    self.add(&at, format!("what is in {file} is no value of a header"));
                }
                headers.push((name.clone(), value));
            }
        }
        headers
    }

    fn bytes(&mut self, at: &str, name: &str) -> Option<Zeroizing<Vec<u8>>> {
        self.files.read(name).map_err(|error| self.wrong.push(format!("{at}: {error}"))).ok()
    }

    /// Without the white space around it, which editors like to leave.
    fn text(&mut self, at: &str, name: &str) -> Option<Zeroizing<String>> {
        let bytes = self.bytes(at, name)?;
        match str::from_utf8(&bytes).map(str::trim) {
            Ok(text) if !text.is_empty() => Some(Zeroizing::new(text.to_owned())),
            _ => {
                self.add(at, format!("there is no text in {name}"));
                None
            }
        }
    }

    fn words<T, C>(&mut self, at: &str, given: &[String]) -> C
    where
        T: FromStr<Err: Display>,
        C: FromIterator<T>,
    {
        let given = self.each(at, given);
        given.into_iter().filter_map(|(_, text)| self.word(at, text)).collect()
    }

    /// Of a list, as many as anybody writes, each with its place.
    fn each<'l, T>(&mut self, at: &str, list: &'l [T]) -> Vec<(String, &'l T)> {
        if list.len() > MOST {
            self.add(at, format!("there are more than {MOST}"));
        }
        let numbered = list.iter().take(MOST).enumerate();
        numbered.map(|(number, one)| (format!("{at}[{number}]"), one)).collect()
    }

    fn word<T: FromStr<Err: Display>>(&mut self, at: &str, text: &str) -> Option<T> {
        text.parse().map_err(|error| self.add(at, error)).ok()
    }

    fn duration(&mut self, at: &str, text: &str) -> Option<Duration> {
        const LONGEST: Duration = Duration::from_secs(3660 * 24 * 60 * 60);
        match humantime::parse_duration(text) {
            Ok(duration) if !duration.is_zero() && duration <= LONGEST => return Some(duration),
            Ok(_) => self.add(at, format!("{text:?} is nothing, or longer than ten years")),
            Err(error) => self.add(at, format!("{text:?}: {error}; write it like 90d, 12h or 30m")),
        }
        None
    }

    fn name(&mut self, at: &str, name: &str, known: &mut BTreeSet<String>) {
        let is_ok = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || name.len() > 63 || !name.chars().all(is_ok) {
            self.add(&format!("{at}.name"), "a name has up to 63 lower-case letters, digits and hyphens");
        } else if !known.insert(name.to_owned()) {
            self.add(&format!("{at}.name"), format!("there is another {name}"));
        }
    }

    fn add(&mut self, at: &str, problem: impl Display) {
        self.wrong.push(format!("{at}: {problem}"));
    }
}
