//! Says what there is to say until it is heard: what that is follows from what is kept and from how far others
//! were told, so that a manager that is killed goes on where it was.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};
use hotcert::external::http_client::{Endpoint, HttpRequest};
use hyper::Method;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use tokio::sync::watch;
use zeroize::Zeroizing;

use crate::inventory::{Inventory, Told, Version};

const LOOK: Duration = Duration::from_secs(1);
const WITHIN: Duration = Duration::from_secs(10);
const SHORTEST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

pub struct Announcer {
    pub inventory: Arc<Inventory>,
    pub callback: Option<Endpoint>,
    pub events: Option<Endpoint>,
    pub token: Option<Zeroizing<String>>,
    pub thresholds: Vec<Duration>,
    /// Something else is kept now, or wanted.
    pub changed: watch::Receiver<()>,
}

/// Where something is said.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Events,
    Callback,
}

/// What is to be said of one certificate.
#[derive(Debug, PartialEq)]
enum News {
    Rotated,
    /// Of what was brought.
    Reimported,
    /// What was reached, unless it is only that somebody wants it; and the type of the event.
    Expiry(Option<String>, &'static str),
}

impl News {
    fn way(&self) -> Way {
        match self {
            Self::Rotated => Way::Events,
            Self::Reimported | Self::Expiry(..) => Way::Callback,
        }
    }

    /// Changes what stands there once it was heard.
    fn heard(self, version: u64, told: &mut Told) {
        match self {
            Self::Rotated => told.rotated = version,
            Self::Reimported => told.reimported = version,
            Self::Expiry(reached, _) => {
                if let Some(reached) = reached {
                    told.expiry = Some((version, reached));
                }
                if told.wanted == Some(version) {
                    told.wanted = None;
                }
            }
        }
    }
}

impl Announcer {
    /// Each certificate and each way by itself: whoever does not answer holds up nothing else.
    pub fn start(self) {
        let ids: Vec<_> = self.inventory.ids().map(str::to_owned).collect();
        let announcer = Arc::new(self);
        for id in ids {
            for way in [Way::Events, Way::Callback] {
                tokio::spawn(Arc::clone(&announcer).follow(id.clone(), way));
            }
        }
    }

    async fn follow(self: Arc<Self>, id: String, way: Way) {
        let mut changed = self.changed.clone();
        let mut failed: u32 = 0;
        loop {
            // What changes from here on wakes it below.
            changed.mark_unchanged();
            if let Err(error) = self.round(&id, way).await {
                crate::say(&json!({"failed": format!("{error:#}"), "of": id}));
                // What is new does not make those answer who did not.
                tokio::time::sleep(pause(failed)).await;
                failed += 1;
            } else {
                failed = 0;
                let _ = tokio::time::timeout(LOOK, async {
                    if changed.changed().await.is_err() {
                        std::future::pending().await
                    }
                })
                .await;
            }
        }
    }

    async fn round(&self, id: &str, way: Way) -> Result<()> {
        let Some(version) = self.inventory.newest(id)? else { return Ok(()) };
        let (told, is_made) = (self.inventory.told(id)?, self.inventory.makes(id));
        let news = news(&version, is_made, &told, &self.thresholds, SystemTime::now());
        for news in news.into_iter().filter(|news| news.way() == way) {
            match &news {
                News::Rotated => self.event(id, &version).await?,
                News::Reimported => self.callback(id, &version, "cert_reimported").await?,
                News::Expiry(_, kind) => self.callback(id, &version, kind).await?,
            }
            self.inventory.tell(id, |told| news.heard(version.number, told))?;
        }
        Ok(())
    }

    /// As Secrets Manager's come through Event Notifications. The same to the letter when it is sent again.
    async fn event(&self, id: &str, version: &Version) -> Result<()> {
        let (Some(site), Some(token)) = (&self.events, &self.token) else { return Ok(()) };
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
                "secret_type": if self.inventory.makes(id) { "private_cert" } else { "imported_cert" },
                "source_instance_crn": instance,
                "secrets": [{
                    "secret_id": id,
                    "secret_name": id,
                    "secret_group_id": "default",
                    "event_time": date(version.created),
                    "secret_expiration": date(version.leaf.not_after),
                    "serial_number": version.leaf.serial,
                }],
            },
        });
        let call = HttpRequest::new(Method::POST).header("content-type", "application/cloudevents+json")?;
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
        let call = HttpRequest::new(Method::POST).header("content-type", "application/json")?;
        send(site, call, &body, kind, id).await
    }
}

async fn send(site: &Endpoint, call: HttpRequest, body: &Value, kind: &str, id: &str) -> Result<()> {
    let at = UNIX_EPOCH.elapsed().unwrap_or_default().as_millis();
    let answer = site.send(call.body(body.to_string().into_bytes()), WITHIN, 64 << 10).await?;
    crate::say(&json!({"sent": kind, "of": id, "at": at, "status": answer.status.as_u16(),
        "answer": serde_json::from_slice::<Value>(&answer.body).ok()}));
    if !answer.status.is_success() {
        bail!("{} answers {} to {kind} of {id}", site.origin(), answer.status);
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

/// After so many failures before this one.
fn pause(failed: u32) -> Duration {
    SHORTEST_PAUSE.saturating_mul(2_u32.saturating_pow(failed)).min(LONGEST_PAUSE)
}

/// In the order in which it is said.
fn news(
    version: &Version,
    is_made: bool,
    told: &Told,
    thresholds: &[Duration],
    now: SystemTime,
) -> Vec<News> {
    let mut news = Vec::new();
    if told.rotated < version.number {
        news.push(News::Rotated);
    }
    if !is_made && told.reimported < version.number {
        news.push(News::Reimported);
    }
    let (reached, kind) = if let Ok(past) = now.duration_since(version.leaf.not_after) {
        (Some(format!("expired {}", past.as_secs() / DAY.as_secs())), "cert_expired_reimport_required")
    } else {
        let left = version.leaf.not_after.duration_since(now).unwrap_or_default();
        let reached = thresholds.iter().filter(|threshold| left <= **threshold).min();
        let reached = reached.map(|threshold| format!("{}s", threshold.as_secs()));
        (reached, "cert_about_to_expire_reimport_required")
    };
    let was_told = |reached: &String| {
        told.expiry.as_ref().is_some_and(|(number, told)| *number == version.number && told == reached)
    };
    let new = reached.filter(|reached| !was_told(reached));
    if new.is_some() || told.wanted == Some(version.number) {
        news.push(News::Expiry(new, kind));
    }
    news
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
            not_after: UNIX_EPOCH + 100 * DAY,
        };
        let created = UNIX_EPOCH;
        Version { number: 3, created, certificate: String::new(), key: Zeroizing::default(), leaf }
    }

    #[test]
    fn each_thing_is_said_once_and_again_until_it_was_heard() {
        let thresholds = [90, 30, 1].map(|days| DAY * days);
        let heard = Told { rotated: 3, reimported: 3, ..Told::default() };
        let expiry = |reached: &str| Told { expiry: Some((3, reached.into())), ..heard.clone() };
        for (day, told, said) in [
            (5, Told::default(), vec![News::Rotated, News::Reimported]),
            (5, Told { rotated: 3, ..Told::default() }, vec![News::Reimported]),
            (5, Told { reimported: 3, ..Told::default() }, vec![News::Rotated]),
            (5, heard.clone(), vec![]),
            (10, heard.clone(), vec![expiring(Some("7776000s"))]),
            (
                10,
                Told { expiry: Some((2, "7776000s".into())), ..heard.clone() },
                vec![expiring(Some("7776000s"))],
            ),
            (10, expiry("7776000s"), vec![]),
            (70, expiry("7776000s"), vec![expiring(Some("2592000s"))]),
            (99, Told::default(), vec![News::Rotated, News::Reimported, expiring(Some("86400s"))]),
            (102, expiry("86400s"), vec![expired("expired 2")]),
            (102, expiry("expired 2"), vec![]),
        ] {
            check(day, told, &thresholds, said);
        }
    }

    #[test]
    fn what_somebody_wants_is_said_whatever_was_said_before() {
        let thresholds = [DAY * 90];
        let heard = Told { rotated: 3, reimported: 3, wanted: Some(3), ..Told::default() };
        let reached = Told { expiry: Some((3, "7776000s".into())), ..heard.clone() };
        check(5, heard.clone(), &thresholds, vec![expiring(None)]);
        check(10, heard.clone(), &thresholds, vec![expiring(Some("7776000s"))]);
        check(10, reached, &thresholds, vec![expiring(None)]);
        check(5, Told { wanted: Some(2), ..heard }, &thresholds, vec![]);
    }

    /// What is said at that time; and that nothing is, once that was heard.
    #[track_caller]
    fn check(day: u32, mut told: Told, thresholds: &[Duration], expected: Vec<News>) {
        let now = UNIX_EPOCH + DAY * day + Duration::from_secs(1);
        let said = news(&version(), false, &told, thresholds, now);
        assert_eq!(said, expected, "day {day}, told {told:?}");
        said.into_iter().for_each(|news| news.heard(3, &mut told));
        assert_eq!(news(&version(), false, &told, thresholds, now), [], "day {day}, told {told:?}");
    }

    #[test]
    fn what_is_made_here_was_not_brought() {
        let now = UNIX_EPOCH + DAY;
        assert_eq!(news(&version(), true, &Told::default(), &[], now), [News::Rotated]);
    }

    #[test]
    fn pauses_grow_to_their_longest() {
        let pauses = [0, 1, 2, 5, 6, 1000].map(|failed| pause(failed).as_millis());
        assert_eq!(pauses, [250, 500, 1000, 8000, 10_000, 10_000]);
    }

    fn expiring(reached: Option<&str>) -> News {
        News::Expiry(reached.map(str::to_owned), "cert_about_to_expire_reimport_required")
    }

    fn expired(reached: &str) -> News {
        News::Expiry(Some(reached.to_owned()), "cert_expired_reimport_required")
    }

    #[test]
    fn a_callback_says_what_version_4_does() {
        let payload = payload("crn:v1:x::", "payments", &version(), "cert_about_to_expire_reimport_required");
        assert_eq!(payload["certificates"][0]["expires_on"], 8_640_000_000_u64);
        assert_eq!(payload["certificates"][0]["cert_crn"], "crn:v1:x:certificate:payments");
        assert_eq!((&payload["version"], &payload["expiry_date"]), (&json!(4), &json!(8_640_000_000_u64)));
    }
}
