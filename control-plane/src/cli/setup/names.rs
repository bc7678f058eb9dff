//! How everything is named at IBM, and how it is marked as made by setup.

use super::args::IbmArgs;

/// The header with the token that the receiver checks.
pub const HEADER: &str = "x-hotcert-token";

pub struct Names {
    pub setup: String,
    pub secrets_manager: String,
    pub event_notifications: String,
    pub secret: String,
    pub source: String,
    pub topic: String,
    pub destination: String,
    pub subscription: String,
    /// Of what has a description.
    pub mark: String,
    /// Of instances, which have tags.
    pub tag: String,
    /// Of the secret, to find it by.
    pub label: String,
}

impl Names {
    pub fn new(args: &IbmArgs) -> Self {
        let setup = &args.name;
        let or =
            |name: &Option<String>, kind: &str| name.clone().unwrap_or_else(|| format!("{setup}-{kind}"));
        Self {
            secrets_manager: or(&args.secrets_manager, "secrets-manager"),
            event_notifications: or(&args.event_notifications, "event-notifications"),
            secret: or(&args.secret, "certificate"),
            source: format!("{setup}-secrets-manager"),
            topic: format!("{setup}-certificates"),
            destination: format!("{setup}-receiver"),
            subscription: format!("{setup}-events"),
            mark: format!("Made by hotcert setup ibm, name {setup}, region {}", args.region),
            tag: format!("hotcert-setup:{setup}"),
            label: format!("hotcert-setup-{setup}"),
            setup: setup.clone(),
        }
    }

    /// Whether setup made what has this description.
    pub fn is_marked(&self, description: &str) -> bool {
        description == self.mark
    }
}
