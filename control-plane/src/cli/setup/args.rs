//! The arguments of `hotcert setup ibm` and `hotcert teardown ibm`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::cli::arguments::parse_duration;

/// For names at IBM that are made of it.
const MAX_NAME: usize = 40;

/// What both commands have.
#[derive(Clone, Debug, Args)]
pub struct IbmArgs {
    /// File with the API key of IBM Cloud
    #[arg(long, value_name = "FILE", default_value = "ibm-api.key")]
    pub api_key: PathBuf,
    /// What is made gets names that begin with this, and is marked with it; another name is another setup
    #[arg(long, value_name = "NAME", default_value = "hotcert", value_parser = setup_name)]
    pub name: String,
    /// Region of both instances
    #[arg(long, value_name = "REGION", default_value = "us-south", value_parser = region)]
    pub region: String,
    /// Name of the Secrets Manager instance [default: NAME-secrets-manager]
    #[arg(long, value_name = "NAME", value_parser = ibm_name)]
    pub secrets_manager: Option<String>,
    /// Name of the Event Notifications instance [default: NAME-event-notifications]
    #[arg(long, value_name = "NAME", value_parser = ibm_name)]
    pub event_notifications: Option<String>,
    /// Name of the secret, an imported certificate of the default group [default: NAME-certificate]
    #[arg(long, value_name = "NAME", value_parser = secret_name)]
    pub secret: Option<String>,
    /// YAML file with other addresses of IBM's APIs, such as private endpoints: iam, resourceController, globalCatalog,
    /// globalTagging, secretsManager, eventNotifications, ca, allowNetworks
    #[arg(long, value_name = "FILE")]
    pub endpoints: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub struct SetupIbmArgs {
    #[command(flatten)]
    pub ibm: IbmArgs,
    /// Address of the controller's receiver as Event Notifications reaches it, such as https://hooks.example; without a
    /// path, /notifications/NAME
    #[arg(long, value_name = "URL", value_parser = receiver)]
    pub receiver: String,
    /// Resource group of the instances [default: the account's default group]
    #[arg(long, value_name = "NAME", value_parser = ibm_name)]
    pub resource_group: Option<String>,
    /// Plan of the Secrets Manager instance: its name or its id
    #[arg(long, value_name = "PLAN", default_value = "trial", value_parser = ibm_name)]
    pub secrets_manager_plan: String,
    /// Plan of the Event Notifications instance: its name or its id
    #[arg(long, value_name = "PLAN", default_value = "lite", value_parser = ibm_name)]
    pub event_notifications_plan: String,
    /// Events that the topic selects, and that the settings accept
    #[arg(long, value_name = "EVENTS", value_delimiter = ',', default_value = "changed,expiring,failed")]
    pub events: Vec<Event>,
    /// Namespace whose certificates may use the secret, and may be meant by events
    #[arg(long, value_name = "NAMESPACE", default_value = "default", value_parser = namespace)]
    pub namespace: String,
    /// Certificate to import, PEM; without it, one is made under a root that is kept nowhere else
    #[arg(long, value_name = "FILE", requires = "private_key")]
    pub certificate: Option<PathBuf>,
    /// Private key of --certificate, PEM
    #[arg(long, value_name = "FILE", requires = "certificate")]
    pub private_key: Option<PathBuf>,
    /// Intermediate certificates of --certificate, PEM
    #[arg(long, value_name = "FILE", requires = "certificate")]
    pub intermediate: Option<PathBuf>,
    /// DNS name of the certificate that is made
    #[arg(long, value_name = "NAME", default_value = "example.com", conflicts_with = "certificate")]
    pub dns_name: String,
    /// Directory for the token of the events, the root of the certificate and the settings; existing ones are kept
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub directory: PathBuf,
    /// How long to wait for an instance to become active
    #[arg(long, value_name = "DURATION", default_value = "20m", value_parser = parse_duration)]
    pub timeout: Duration,
    /// Print every request that would be sent where nothing exists yet, and send none
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Clone, Debug, Args)]
pub struct TeardownIbmArgs {
    #[command(flatten)]
    pub ibm: IbmArgs,
    /// Remove it without asking
    #[arg(long)]
    pub yes: bool,
    /// Read what exists, print the requests that would remove it, and send none of them
    #[arg(long)]
    pub dry_run: bool,
}

/// A kind of events, in the words of the settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Event {
    Changed,
    Expiring,
    Failed,
    Revoked,
}

impl Event {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Expiring => "expiring",
            Self::Failed => "failed",
            Self::Revoked => "revoked",
        }
    }

    /// What Secrets Manager calls them, without subtypes.
    pub fn types(self) -> &'static [&'static str] {
        match self {
            Self::Changed => &["com.ibm.cloud.secrets-manager.secret_rotated"],
            Self::Expiring => &[
                "com.ibm.cloud.secrets-manager.secret_about_to_expire",
                "com.ibm.cloud.secrets-manager.secret_expired",
            ],
            Self::Failed => &["com.ibm.cloud.secrets-manager.secret_rotation_failed"],
            Self::Revoked => &["com.ibm.cloud.secrets-manager.secret_revoked"],
        }
    }
}

fn setup_name(text: &str) -> Result<String, String> {
    let is_valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let ends = text.starts_with('-') || text.ends_with('-');
    if text.is_empty() || text.len() > MAX_NAME || ends || !text.chars().all(is_valid) {
        return Err(format!("use 1 to {MAX_NAME} lower-case letters, digits and hyphens"));
    }
    if text == "keys" {
        return Err("the receiver reserves this name".into());
    }
    Ok(text.to_owned())
}

fn region(text: &str) -> Result<String, String> {
    let is_valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if text.is_empty() || text.len() > 32 || !text.chars().all(is_valid) {
        return Err("write a region such as us-south or eu-de".into());
    }
    Ok(text.to_owned())
}

/// As the Resource Controller takes names.
fn ibm_name(text: &str) -> Result<String, String> {
    let is_valid = |c: char| c.is_ascii_alphanumeric() || " -._:".contains(c);
    if text.is_empty() || text.len() > 180 || !text.chars().all(is_valid) {
        return Err("use 1 to 180 letters, digits, spaces and -._:".into());
    }
    Ok(text.to_owned())
}

fn secret_name(text: &str) -> Result<String, String> {
    let is_valid = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if !(2..=240).contains(&text.len()) || !text.chars().all(is_valid) {
        return Err("use 2 to 240 letters, digits, hyphens, dots and underscores".into());
    }
    Ok(text.to_owned())
}

fn namespace(text: &str) -> Result<String, String> {
    let is_valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if text.is_empty() || text.len() > 63 || !text.chars().all(is_valid) {
        return Err("write the name of a namespace".into());
    }
    Ok(text.to_owned())
}

/// Without the slash at its end.
fn receiver(text: &str) -> Result<String, String> {
    let example = || "write an address such as https://hooks.example".to_owned();
    let uri: hyper::Uri = text.parse().map_err(|_| example())?;
    let has_user = uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
    if uri.scheme_str() != Some("https") || uri.host().is_none_or(str::is_empty) || has_user {
        return Err(example());
    }
    Ok(text.trim_end_matches('/').to_owned())
}
