//! Sends callbacks and events about the certificates, and retries until they are acknowledged. What is due follows from
//! the inventory and the recorded delivery state, so a manager that crashed continues where it was.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};
use hotcert::external::http_client::{AddressPolicy, Endpoint, HttpRequest};
use hyper::Method;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use tokio::sync::watch;
use zeroize::Zeroizing;

use crate::cloud::Cloud;
use crate::inventory::{Inventory, Version};
use crate::notification::{Channel, Notification, due};

const POLL_INTERVAL: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_secs(10);
const MIN_BACKOFF: Duration = Duration::from_millis(250);
const MAX_BACKOFF: Duration = Duration::from_secs(10);

pub struct Notifier {
    pub inventory: Arc<Inventory>,
    pub callback: Option<Endpoint>,
    pub events: Option<Endpoint>,
    pub token: Option<Zeroizing<String>>,
    /// Where events go that have no address of their own.
    pub destinations: Destinations,
    pub thresholds: Vec<Duration>,
    /// The inventory or its delivery state changed.
    pub changed: watch::Receiver<()>,
}

/// The destinations of Event Notifications, and how they may be reached.
pub struct Destinations {
    pub cloud: Arc<Cloud>,
    pub policy: AddressPolicy,
    pub roots: Option<Zeroizing<Vec<u8>>>,
}

impl Destinations {
    async fn send(&self, body: &Value, kind: &str, id: &str) -> Result<()> {
        for target in self.cloud.targets(body) {
            let roots = self.roots.as_ref().map(|roots| roots.as_slice());
            let endpoint = Endpoint::new(&target.url, self.policy.clone(), roots)?;
            let mut request =
                HttpRequest::new(Method::POST).header("content-type", "application/cloudevents+json")?;
            for (name, value) in &target.headers {
                request = request.header(name, value)?;
            }
            send(&endpoint, request, body, kind, id).await?;
        }
        Ok(())
    }
}

impl Notifier {
    /// A task for each certificate and channel: a receiver that does not answer delays nothing else.
    pub fn start(self) {
        let ids: Vec<_> = self.inventory.ids().map(str::to_owned).collect();
        let notifier = Arc::new(self);
        for id in ids {
            for channel in [Channel::Events, Channel::Callback] {
                tokio::spawn(Arc::clone(&notifier).run(id.clone(), channel));
            }
        }
    }

    async fn run(self: Arc<Self>, id: String, channel: Channel) {
        let mut changed = self.changed.clone();
        let mut failed: u32 = 0;
        loop {
            // Changes from here on end the wait below.
            changed.mark_unchanged();
            if let Err(error) = self.round(&id, channel).await {
                crate::log(&json!({"failed": format!("{error:#}"), "secret": id}));
                // A change does not end the backoff: it does not make the receiver answer.
                tokio::time::sleep(backoff(failed)).await;
                failed += 1;
            } else {
                failed = 0;
                let _ = tokio::time::timeout(POLL_INTERVAL, async {
                    if changed.changed().await.is_err() {
                        std::future::pending().await
                    }
                })
                .await;
            }
        }
    }

    async fn round(&self, id: &str, channel: Channel) -> Result<()> {
        let Some(version) = self.inventory.newest(id)? else { return Ok(()) };
        let (delivery, is_issued_here) = (self.inventory.delivery(id)?, self.inventory.issues(id));
        let due = due(&version, is_issued_here, &delivery, &self.thresholds, SystemTime::now());
        for notification in due.into_iter().filter(|notification| notification.channel() == channel) {
            match &notification {
                Notification::Rotated => self.event(id, &version).await?,
                Notification::Reimported => self.callback(id, &version, "cert_reimported").await?,
                Notification::Expiry(_, kind) => self.callback(id, &version, kind).await?,
            }
            self.inventory.update_delivery(id, |delivery| notification.record(version.number, delivery))?;
        }
        Ok(())
    }

    /// An event of Secrets Manager as Event Notifications delivers it. A retry sends the same bytes.
    async fn event(&self, id: &str, version: &Version) -> Result<()> {
        let instance = &self.inventory.instance;
        let body = json!({
            "specversion": "1.0",
            "id": format!("{id}-{}", version.number),
            "source": instance,
            "type": "com.ibm.cloud.secrets-manager.secret_rotated:automatic",
            "time": date(version.created),
            "datacontenttype": "application/json",
            "data": {
                "event_type": "com.ibm.cloud.secrets-manager.secret_rotated",
                "event_sub_type": "automatic",
                "secret_type": if self.inventory.issues(id) { "private_cert" } else { "imported_cert" },
                "source_instance_crn": instance,
                "secrets": [{
                    "secret_id": self.inventory.uuid(id),
                    "secret_name": id,
                    "secret_group_id": "default",
                    "event_time": date(version.created),
                    "secret_expiration": date(version.leaf.not_after),
                    "serial_number": version.leaf.serial,
                }],
            },
        });
        let (Some(endpoint), Some(token)) = (&self.events, &self.token) else {
            return self.destinations.send(&body, "secret_rotated", id).await;
        };
        let request =
            HttpRequest::new(Method::POST).header("content-type", "application/cloudevents+json")?;
        send(endpoint, request.header("x-token", token)?, &body, "secret_rotated", id).await
    }

    /// A callback of Certificate Manager: `{"data": JWT}`, version 4.
    async fn callback(&self, id: &str, version: &Version, kind: &str) -> Result<()> {
        let Some(endpoint) = &self.callback else { return Ok(()) };
        let payload = payload(&self.inventory.instance, id, version, kind);
        let mut header = Header::new(Algorithm::RS256);
        header.typ = None;
        let key = EncodingKey::from_rsa_pem(self.inventory.signing_key().as_bytes())?;
        let body = json!({ "data": encode(&header, &payload, &key)? });
        let request = HttpRequest::new(Method::POST).header("content-type", "application/json")?;
        send(endpoint, request, &body, kind, id).await
    }
}

async fn send(endpoint: &Endpoint, request: HttpRequest, body: &Value, kind: &str, id: &str) -> Result<()> {
    let at = UNIX_EPOCH.elapsed().unwrap_or_default().as_millis();
    let response = endpoint.send(request.body(body.to_string().into_bytes()), TIMEOUT, 64 << 10).await?;
    crate::log(&json!({"sent": kind, "secret": id, "at": at, "status": response.status.as_u16(),
        "response": serde_json::from_slice::<Value>(&response.body).ok()}));
    if !response.status.is_success() {
        bail!("{} answered {} to {kind} of {id}", endpoint.origin(), response.status);
    }
    Ok(())
}

fn payload(instance: &str, id: &str, version: &Version, kind: &str) -> Value {
    let end = version.leaf.not_after.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let mut payload = json!({
        "instance_crn": instance,
        "certificate_manager_url": "https://localhost/",
        "event_type": kind,
        "certificates": [{
            "cert_crn": format!("{}:certificate:{id}", instance.trim_end_matches(':')),
            "name": id,
            "domains": "",
            "expires_on": end,
            "additional_info": "",
            "auto_renewed": false,
        }],
        "version": 4,
        "latestVersion": 4,
    });
    if kind.contains("about_to_expire") {
        payload["expiry_date"] = json!(end);
    }
    payload
}

/// After this many failures before the last one.
fn backoff(failed: u32) -> Duration {
    MIN_BACKOFF.saturating_mul(2_u32.saturating_pow(failed)).min(MAX_BACKOFF)
}

fn date(at: SystemTime) -> String {
    humantime::format_rfc3339_seconds(at).to_string()
}

#[cfg(test)]
mod tests {
    use hotcert::pki::x509_facts::Leaf;

    use super::*;

    fn version() -> Version {
        let leaf = Leaf {
            sha256: "ab".into(),
            serial: "0a".into(),
            not_before: UNIX_EPOCH,
            not_after: UNIX_EPOCH + Duration::from_secs(8_640_000),
        };
        let created = UNIX_EPOCH;
        Version { number: 3, created, certificate: String::new(), key: Zeroizing::default(), leaf }
    }

    #[test]
    fn backoff_grows_to_its_maximum() {
        let backoffs = [0, 1, 2, 5, 6, 1000].map(|failed| backoff(failed).as_millis());
        assert_eq!(backoffs, [250, 500, 1000, 8000, 10_000, 10_000]);
    }

    #[test]
    fn a_callback_has_the_fields_of_version_4() {
        let payload = payload("crn:v1:x::", "payments", &version(), "cert_about_to_expire_reimport_required");
        assert_eq!(payload["certificates"][0]["expires_on"], 8_640_000_000_u64);
        assert_eq!(payload["certificates"][0]["cert_crn"], "crn:v1:x:certificate:payments");
        assert_eq!((&payload["version"], &payload["expiry_date"]), (&json!(4), &json!(8_640_000_000_u64)));
    }
}
