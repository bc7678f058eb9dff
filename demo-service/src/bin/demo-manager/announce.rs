//! Says what there is to say until it is heard: what that is follows from what is kept and from how far others
//! were told, so that a manager that is killed goes on where it was.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};
use hotcert::web::{Call, Site};
use hyper::Method;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use tokio::sync::Notify;
use zeroize::Zeroizing;

use crate::inventory::{Inventory, Told, Version};

const LOOK: Duration = Duration::from_secs(1);
const WITHIN: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

pub struct Announcer {
    pub inventory: Arc<Inventory>,
    pub callback: Option<Site>,
    pub events: Option<Site>,
    pub token: Option<Zeroizing<String>>,
    pub thresholds: Vec<Duration>,
    /// Something else is kept now, or wanted.
    pub changed: Arc<Notify>,
}

/// What is to be said of one certificate.
#[derive(Debug, PartialEq)]
enum News {
    Rotated,
    /// What was reached, and the type of the event.
    Expiry(String, &'static str),
}

impl Announcer {
    pub async fn run(self) {
        let mut failed: u32 = 0;
        loop {
            let pause = match self.round().await {
                Ok(()) => {
                    failed = 0;
                    LOOK
                }
                Err(error) => {
                    crate::say(&json!({"failed": format!("{error:#}")}));
                    failed = (failed + 1).min(8);
                    (Duration::from_millis(100) * 2_u32.pow(failed)).min(LONGEST_PAUSE)
                }
            };
            let _ = tokio::time::timeout(pause, async {
                // What is new does not make those answer who did not.
                if failed > 0 { std::future::pending().await } else { self.changed.notified().await }
            })
            .await;
        }
    }

    async fn round(&self) -> Result<()> {
        for id in self.inventory.ids() {
            let Some(version) = self.inventory.newest(id)? else { continue };
            for news in news(&version, &self.inventory.told(id)?, &self.thresholds, SystemTime::now()) {
                match &news {
                    News::Rotated => {
                        self.event(id, &version).await?;
                        if !self.inventory.makes(id) {
                            self.callback(id, &version, "cert_reimported").await?;
                        }
                    }
                    News::Expiry(_, kind) => self.callback(id, &version, kind).await?,
                }
                self.inventory.tell(id, |told| match news {
                    News::Rotated => told.rotated = version.number,
                    News::Expiry(reached, _) => told.expiry = Some((version.number, reached)),
                })?;
            }
        }
        Ok(())
    }

    /// As Secrets Manager's come through Event Notifications.
    async fn event(&self, id: &str, version: &Version) -> Result<()> {
        let (Some(site), Some(token)) = (&self.events, &self.token) else { return Ok(()) };
        let instance = &self.inventory.instance;
        let body = json!({
            "specversion": "1.0",
            "id": format!("{id}-{}", version.number),
            "source": instance,
            "type": "com.ibm.cloud.secrets-manager.secret_rotated:automatic",
            "time": date(SystemTime::now()),
            "datacontenttype": "application/json",
            "data": {
                "event_type": "com.ibm.cloud.secrets-manager.secret_rotated",
                "event_sub_type": "automatic",
                "secret_type": if self.inventory.makes(id) { "private_cert" } else { "imported_cert" },
                "source_instance_crn": instance,
                "secrets": [{
                    "secret_id": id,
                    "secret_name": id,
                    "secret_group_id": "default",
                    "event_time": date(SystemTime::now()),
                    "secret_expiration": date(version.leaf.not_after),
                    "serial_number": version.leaf.serial,
                }],
            },
        });
        let call = Call::new(Method::POST).header("content-type", "application/cloudevents+json")?;
        send(site, call.header("x-token", token)?, &body, "secret_rotated", id).await
    }

    /// As Certificate Manager's are: `{"data": JWT}`, version 4.
    async fn callback(&self, id: &str, version: &Version, kind: &str) -> Result<()> {
        let Some(site) = &self.callback else { return Ok(()) };
        let payload = payload(&self.inventory.instance, id, version, kind);
        let mut header = Header::new(Algorithm::RS256);
        header.typ = None;
        let key = EncodingKey::from_rsa_pem(self.inventory.signing_key().as_bytes())?;
        let body = json!({ "data": encode(&header, &payload, &key)? });
        let call = Call::new(Method::POST).header("content-type", "application/json")?;
        send(site, call, &body, kind, id).await
    }
}

async fn send(site: &Site, call: Call, body: &Value, kind: &str, id: &str) -> Result<()> {
    let at = UNIX_EPOCH.elapsed().unwrap_or_default().as_millis();
    let answer = site.send(call.body(body.to_string().into_bytes()), WITHIN, 64 << 10).await?;
    crate::say(&json!({"sent": kind, "of": id, "at": at, "status": answer.status.as_u16(),
        "answer": serde_json::from_slice::<Value>(&answer.body).ok()}));
    if !answer.status.is_success() {
        bail!("{} answers {} to {kind} of {id}", site.shown(), answer.status);
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

/// In the order in which it is said.
fn news(version: &Version, told: &Told, thresholds: &[Duration], now: SystemTime) -> Vec<News> {
    let mut news = Vec::new();
    if told.rotated < version.number {
        news.push(News::Rotated);
    }
    let expiry = if let Ok(past) = now.duration_since(version.leaf.not_after) {
        Some((format!("expired {}", past.as_secs() / DAY.as_secs()), "cert_expired_reimport_required"))
    } else {
        let left = version.leaf.not_after.duration_since(now).unwrap_or_default();
        let reached = thresholds.iter().filter(|threshold| left <= **threshold).min();
        let reached = reached.map(|threshold| format!("{}s", threshold.as_secs()));
        let wanted = (told.wanted == Some(version.number)).then(|| "wanted".to_owned());
        reached.or(wanted).map(|reached| (reached, "cert_about_to_expire_reimport_required"))
    };
    if let Some((reached, kind)) = expiry
        && told.expiry.as_ref() != Some(&(version.number, reached.clone()))
    {
        news.push(News::Expiry(reached, kind));
    }
    news
}

fn date(at: SystemTime) -> String {
    humantime::format_rfc3339_seconds(at).to_string()
}

#[cfg(test)]
mod tests {
    use hotcert::observed::Leaf;

    use super::*;

    fn version() -> Version {
        let leaf = Leaf {
            sha256: "ab".into(),
            serial: "0a".into(),
            not_before: UNIX_EPOCH,
            not_after: UNIX_EPOCH + 100 * DAY,
        };
        Version { number: 3, certificate: String::new(), key: Zeroizing::default(), leaf }
    }

    #[test]
    fn each_thing_is_said_once_and_again_until_it_was_heard() {
        let thresholds = [90, 30, 1].map(|days| DAY * days);
        let heard = Told { rotated: 3, ..Told::default() };
        let expiry = |reached: &str| heard.clone().with(reached);
        for (day, told, said) in [
            (5, Told::default(), vec![News::Rotated]),
            (5, heard.clone(), vec![]),
            (10, heard.clone(), vec![expiring("7776000s")]),
            (10, expiry("7776000s"), vec![]),
            (70, expiry("7776000s"), vec![expiring("2592000s")]),
            (99, Told::default(), vec![News::Rotated, expiring("86400s")]),
            (5, Told { wanted: Some(3), ..heard.clone() }, vec![expiring("wanted")]),
            (5, Told { wanted: Some(3), ..expiry("wanted") }, vec![]),
            (5, Told { wanted: Some(2), ..heard.clone() }, vec![]),
            (102, expiry("86400s"), vec![expired("expired 2")]),
            (102, expiry("expired 2"), vec![]),
        ] {
            let now = UNIX_EPOCH + DAY * day + Duration::from_secs(1);
            assert_eq!(news(&version(), &told, &thresholds, now), said, "day {day}, told {told:?}");
        }
    }

    impl Told {
        fn with(mut self, reached: &str) -> Self {
            self.expiry = Some((3, reached.into()));
            self
        }
    }

    fn expiring(reached: &str) -> News {
        News::Expiry(reached.into(), "cert_about_to_expire_reimport_required")
    }

    fn expired(reached: &str) -> News {
        News::Expiry(reached.into(), "cert_expired_reimport_required")
    }

    #[test]
    fn a_callback_says_what_version_4_does() {
        let payload = payload("crn:v1:x::", "payments", &version(), "cert_about_to_expire_reimport_required");
        assert_eq!(payload["certificates"][0]["expires_on"], 8_640_000_000_u64);
        assert_eq!(payload["certificates"][0]["cert_crn"], "crn:v1:x:certificate:payments");
        assert_eq!((&payload["version"], &payload["expiry_date"]), (&json!(4), &json!(8_640_000_000_u64)));
    }
}
