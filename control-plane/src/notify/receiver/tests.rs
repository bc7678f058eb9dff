//! What is believed, what is not and why, and what each form says. The store is a directory, with a root and
//! a leaf of their own.

use std::time::{Duration, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{EncodingKey, Header, encode};
use proptest::prelude::*;
use rcgen::{KeyPair, PKCS_RSA_SHA256};
use serde_json::json;
use tempfile::TempDir;
use zeroize::Zeroizing;

use super::*;
use crate::api::events::Pattern;
use crate::api::resource::{CertificateAuthoritySpec, ManagerRef, ServiceCertificateSpec};
use crate::external::http_client::{AddressPolicy, Endpoint};
use crate::external::manager::ibm::Ibm;
use crate::external::manager::{Kind, Manager};
use crate::notify::signature::{Signer, Verifier};
use crate::planner::observed::{KeyringState, ObjectName};
use crate::probe::{PROBER, Prober};
use crate::runtime::reconcile::{Counts as IssuingCounts, Reconciler};
use crate::store::Editor as _;
use crate::store::directory::DirectoryStore;

const INSTANCE: &str = "crn:v1:bluemix:public:cloudcerts:us-south:a/1:2::";
const SECRET: &[u8] = b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const TOKEN: &str = "0123456789abcdef";
const NAME: &str = "shop/mtls-prod-payments";

struct Scene {
    _home: TempDir,
    store: Arc<DirectoryStore>,
    receiver: Receiver<DirectoryStore>,
    key: KeyPair,
    /// Keeps the settings.
    _settings: watch::Sender<Arc<NotifyConfig>>,
    counts: Counts,
}

fn sender(form: Provider, instance: &str) -> EventSource {
    EventSource {
        form,
        instance: instance.into(),
        events: What::all(),
        names: vec![Pattern::any()],
        certificates: BTreeMap::from([("crn:cert:1".to_owned(), NAME.to_owned())]),
    }
}

impl Scene {
    async fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let store = Arc::new(DirectoryStore::open(home.path().join("pki")).unwrap());
        let spec = CertificateAuthoritySpec { namespaces: vec!["shop".into()], ..Default::default() };
        store.create_authority("root-prod-shop", &spec).await.unwrap();
        let spec = ServiceCertificateSpec { authority: "root-prod-shop".into(), ..Default::default() };
        for name in ["mtls-prod-payments", "mtls-prod-ledger"] {
            store.create_certificate(&ObjectName::new("shop", name), &spec).await.unwrap();
        }
        let key = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
        let pem = key.public_key_pem();
        let header = Credential::Header { name: "x-token".into(), sha256: sha256_hex(TOKEN.as_bytes()) };
        let clients = Credential::Client(vec!["spiffe://ibm/sender".parse().unwrap()]);
        let senders = [
            ("standard", sender(Provider::Standard(Verifier::parse([SECRET]).unwrap()), "urn:hotcert:other")),
            ("ibm", sender(Provider::CertificateManager(Keys::of([pem.as_bytes()]).unwrap()), INSTANCE)),
            ("secrets", sender(Provider::SecretsManager(header), INSTANCE)),
            ("mtls", sender(Provider::SecretsManager(clients), INSTANCE)),
        ];
        let senders = senders.into_iter().map(|(name, sender)| (name.to_owned(), sender)).collect();
        let ibm = Endpoint::new("https://ibm.example", AddressPolicy::default(), None).unwrap();
        let kind = Kind::Ibm(Ibm::new(ibm.clone(), ibm, Zeroizing::default()));
        let ids = ["3f2a", "77b1"].map(|id| id.parse().unwrap()).to_vec();
        let allow = BTreeMap::from([("*".to_owned(), ids)]);
        let manager = Manager { kind, allow, trust: None, digest: String::new() };
        let managers = BTreeMap::from([("ibm".to_owned(), Arc::new(manager))]);
        let settings = NotifyConfig { senders, managers, ..NotifyConfig::default() };
        let (keep, settings) = watch::channel(Arc::new(settings));
        let counts = Counts::default();
        let receiver = Receiver::new(Arc::clone(&store), settings, counts.clone());
        let scene = Self { _home: home, store, receiver, key, _settings: keep, counts };
        scene.settle().await;
        scene
    }

    /// Until nothing is left to be done.
    async fn settle(&self) {
        let counts = IssuingCounts::default();
        let mut reconciler = Reconciler::new(Arc::clone(&self.store), Prober::new(PROBER), false, counts);
        while !reconciler.round().await.unwrap().settled {}
    }

    async fn send(&self, sender: &str, headers: &HeaderMap, body: &[u8]) -> Result<Accepted, Refusal> {
        let message = Message { headers, body, client: None };
        self.receiver.receive(sender, message, SystemTime::now()).await
    }

    /// Of Certificate Manager's callback, signed as it is.
    async fn callback(&self, payload: Value) -> Result<Accepted, Refusal> {
        let key = EncodingKey::from_rsa_pem(self.key.serialize_pem().as_bytes()).unwrap();
        let mut header = Header::new(jsonwebtoken::Algorithm::RS256);
        header.typ = None;
        let body = json!({"data": encode(&header, &payload, &key).unwrap()});
        self.send("ibm", &HeaderMap::new(), body.to_string().as_bytes()).await
    }

    async fn standard(&self, event: Value, at: SystemTime) -> Result<Accepted, Refusal> {
        let body = event.to_string();
        let id = event["id"].as_str().unwrap_or("id");
        let headers = Signer::parse([SECRET]).unwrap().headers(id, body.as_bytes(), at);
        self.send("standard", &headers_of(&headers), body.as_bytes()).await
    }

    async fn secrets(&self, event: Value) -> Result<Accepted, Refusal> {
        let headers = headers_of(&[("x-token", TOKEN.to_owned())]);
        self.send("secrets", &headers, event.to_string().as_bytes()).await
    }

    async fn versions(&self) -> usize {
        let observed = self.store.observe().await.unwrap();
        observed.certificates[&NAME.parse().unwrap()].versions.len()
    }

    /// When the leaf that is served ends.
    async fn end(&self) -> SystemTime {
        let observed = self.store.observe().await.unwrap();
        observed.certificates[&NAME.parse().unwrap()].newest().unwrap().1.leaf.not_after
    }

    fn count(&self, sender: &str, outcome: &'static str) -> u64 {
        let labels = Labels { sender: Arc::from(sender), outcome };
        self.counts.0.get(&labels).map_or(0, |count| count.get())
    }
}

fn headers_of(given: &[(&'static str, String)]) -> HeaderMap {
    given.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
}

fn millis(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

fn about_to_expire(end: SystemTime) -> Value {
    json!({
        "instance_crn": INSTANCE,
        "certificate_manager_url": "https://cloud.ibm.com/services/cloudcerts/x",
        "event_type": "cert_about_to_expire_reimport_required",
        "expiry_date": millis(end),
        "certificates": [{
            "cert_crn": "crn:cert:1", "name": "payments", "domains": "payments.shop.svc", "expires_on": millis(end),
            "additional_info": "", "auto_renewed": false,
        }],
        "version": 4, "latestVersion": 4,
    })
}

fn expiring(id: &str, subject: &str, end: SystemTime) -> Value {
    json!({
        "specversion": "1.0", "id": id, "source": "urn:hotcert:other", "type": "dev.hotcert.expiring",
        "subject": subject, "data": {"not_after": crate::api::date::seconds(end)},
    })
}

fn secret_event(id: &str, event: &str, secret: Value) -> Value {
    json!({
        "specversion": "1.0", "id": id, "source": INSTANCE, "type": event, "time": "2026-01-01T00:00:00Z",
        "data": {"event_type": event, "secrets": [secret], "source_instance_crn": INSTANCE},
    })
}

#[tokio::test]
async fn an_expiry_rotates_the_certificate_once_however_often_it_is_announced() {
    let scene = Scene::new().await;
    let payload = about_to_expire(scene.end().await);
    let accepted = scene.callback(payload.clone()).await.unwrap();
    assert_eq!(accepted.requested, [NAME]);
    // Again, before anything was done about it; and by a replica that has not heard it.
    assert!(scene.callback(payload.clone()).await.unwrap().replay);
    let other = Receiver::new(Arc::clone(&scene.store), scene.receiver.settings.clone(), Counts::default());
    let headers = HeaderMap::new();
    let key = EncodingKey::from_rsa_pem(scene.key.serialize_pem().as_bytes()).unwrap();
    let token = encode(&Header::new(jsonwebtoken::Algorithm::RS256), &payload, &key).unwrap();
    let body = json!({"data": token}).to_string();
    let again = || Message { headers: &headers, body: body.as_bytes(), client: None };
    other.receive("ibm", again(), SystemTime::now()).await.unwrap();
    scene.settle().await;
    assert_eq!(scene.versions().await, 2);
    // After all was done and a restart that forgot it.
    let later = Receiver::new(Arc::clone(&scene.store), scene.receiver.settings.clone(), Counts::default());
    later.receive("ibm", again(), SystemTime::now()).await.unwrap();
    scene.settle().await;
    assert_eq!(scene.versions().await, 2);
    assert_eq!((scene.count("ibm", "accepted"), scene.count("ibm", "replay")), (1, 1));
}

#[tokio::test]
async fn every_version_of_the_callback_is_understood() {
    let scene = Scene::new().await;
    let end = scene.end().await;
    let with = |change: &dyn Fn(&mut Value)| {
        let mut payload = about_to_expire(end);
        change(&mut payload);
        payload
    };
    // Each says something else, so that none is a replay of another.
    let iso = crate::api::date::millis(end);
    for (version, payload) in [
        ("4", with(&|_| {})),
        ("4, in digits", with(&|p| p["certificates"][0]["expires_on"] = millis(end).to_string().into())),
        ("4, ISO", with(&|p| p["certificates"][0]["expires_on"] = iso.clone().into())),
        ("3", with(&|p| p["version"] = 3.into())),
        ("4, by name", with(&|p| p["certificates"] = json!([{"name": NAME, "expires_on": millis(end)}]))),
        ("4, expired", with(&|p| p["event_type"] = "cert_expired_renew_required".into())),
    ] {
        let accepted = scene.callback(payload).await;
        assert_eq!(accepted.unwrap().requested, [NAME], "{version}");
    }
    let undated = |payload: &mut Value| {
        payload["certificates"][0].as_object_mut().unwrap().remove("expires_on");
    };
    let v2 = scene.callback(with(&undated)).await.unwrap();
    let v1 = json!({
        "instance_crn": INSTANCE, "certificate_manager_url": "x", "version": 1,
        "expiring_certificates": [{"cert_crn": "crn:cert:1", "name": "payments", "domains": "payments.shop.svc"}],
    });
    let v1 = scene.callback(v1).await.unwrap();
    // Which one is meant they do not say, and ours is young.
    for old in [v1, v2] {
        assert!(old.unchanged[NAME].contains("first half of its life"), "{old:?}");
    }
    for (event, outcome) in [
        ("cert_reimported", "unchanged"),
        ("cert_issued", "unchanged"),
        ("cert_renewed", "unchanged"),
        ("cert_order_failed", "unchanged"),
        ("cert_renew_failed", "unchanged"),
        ("test_notification_channel", "test"),
    ] {
        let payload = with(&|payload| payload["event_type"] = event.into());
        assert_eq!(scene.callback(payload).await.unwrap().outcome(), outcome, "{event}");
    }
}

#[tokio::test]
async fn events_of_the_secrets_manager_are_understood() {
    let scene = Scene::new().await;
    let end = crate::api::date::seconds(scene.end().await);
    let secret = json!({
        "secret_id": "crn:cert:1", "secret_name": "payments", "secret_expiration": end, "domains": "x",
        "secret_group_id": "default", "event_time": "2026-01-01T00:00:00Z", "event_triggered_by": "user",
    });
    for (number, (event, outcome)) in [
        ("com.ibm.cloud.secrets-manager.secret_about_to_expire:in_10_days", "accepted"),
        ("com.ibm.cloud.secrets-manager.secret_expired", "accepted"),
        ("com.ibm.cloud.secrets-manager.secret_revoked:manually", "accepted"),
        ("com.ibm.cloud.secrets-manager.secret_rotated:manually", "unchanged"),
        ("com.ibm.cloud.secrets-manager.secret_rotation_failed:x", "unchanged"),
        ("com.ibm.cloud.secrets-manager.test_event:test", "test"),
        ("secret_about_to_expire", "accepted"),
    ]
    .into_iter()
    .enumerate()
    {
        let accepted = scene.secrets(secret_event(&number.to_string(), event, secret.clone())).await;
        assert_eq!(accepted.unwrap().outcome(), outcome, "{event}");
    }
    let event = "com.ibm.cloud.secrets-manager.secret_expired";
    let other_serial = json!({"secret_id": "crn:cert:1", "serial_number": "00:01"});
    let accepted = scene.secrets(secret_event("s", event, other_serial)).await.unwrap();
    assert!(accepted.unchanged[NAME].contains("another one"), "{accepted:?}");
    assert!(scene.secrets(secret_event("s", event, secret)).await.unwrap().replay, "by source and id");
}

#[tokio::test]
async fn what_is_not_proved_changes_nothing_and_is_counted() {
    let scene = Scene::new().await;
    let end = scene.end().await;
    let now = SystemTime::now();
    let body = |token: String| json!({"data": token}).to_string();
    let claims = about_to_expire(end);
    let public = scene.key.public_key_pem();
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let unsigned = format!("{}.{}.", part(json!({"alg": "none"})), part(claims.clone()));
    // Signed with the public key as if it were a secret.
    let confused = encode(
        &Header::new(jsonwebtoken::Algorithm::HS256),
        &claims,
        &EncodingKey::from_secret(public.as_bytes()),
    );
    let stranger = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap().serialize_pem();
    let strange = EncodingKey::from_rsa_pem(stranger.as_bytes()).unwrap();
    let wrong_key = encode(&Header::new(jsonwebtoken::Algorithm::RS256), &claims, &strange).unwrap();
    let own = EncodingKey::from_rsa_pem(scene.key.serialize_pem().as_bytes()).unwrap();
    let other_algorithm = encode(&Header::new(jsonwebtoken::Algorithm::RS512), &claims, &own).unwrap();
    for (token, what) in [
        (unsigned, "alg: none"),
        (confused.unwrap(), "the public key as a secret"),
        (wrong_key, "another key"),
        (other_algorithm, "another algorithm"),
        ("a.b.c".into(), "no token"),
    ] {
        let refusal = scene.send("ibm", &HeaderMap::new(), body(token).as_bytes()).await.unwrap_err();
        assert_eq!((refusal.reason(), refusal.status()), ("signature", StatusCode::UNAUTHORIZED), "{what}");
    }
    let mut elsewhere = claims.clone();
    elsewhere["instance_crn"] = "crn:v1:evil".into();
    elsewhere["certificate_manager_url"] = "https://evil.example/".into();
    let refused = |result: Result<Accepted, Refusal>| result.unwrap_err().reason();
    assert_eq!(refused(scene.callback(elsewhere).await), "instance");

    let event = expiring("1", NAME, end);
    for (at, reason) in [(now - Duration::from_secs(301), "stale"), (now + Duration::from_secs(310), "stale")]
    {
        assert_eq!(refused(scene.standard(event.clone(), at).await), reason);
    }
    let mut other_source = event.clone();
    other_source["source"] = "urn:hotcert:evil".into();
    assert_eq!(refused(scene.standard(other_source, now).await), "instance");
    let text = event.to_string();
    let other_key = Signer::parse([&b"whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"[..]]).unwrap();
    let forged = headers_of(&other_key.headers("1", text.as_bytes(), now));
    assert_eq!(refused(scene.send("standard", &forged, text.as_bytes()).await), "signature");
    assert_eq!(refused(scene.send("standard", &HeaderMap::new(), text.as_bytes()).await), "unsigned");
    let signed = Signer::parse([SECRET]).unwrap().headers("2", text.as_bytes(), now);
    let swapped = scene.send("standard", &headers_of(&signed), text.as_bytes()).await;
    assert_eq!(refused(swapped), "malformed", "the id that is signed is the event's");

    let event =
        secret_event("1", "com.ibm.cloud.secrets-manager.secret_expired", json!({"secret_id": "crn:cert:1"}));
    let event = event.to_string();
    let twice = {
        let mut headers = headers_of(&[("x-token", TOKEN.to_owned())]);
        headers.append("x-token", "other".parse().unwrap());
        headers
    };
    for headers in [HeaderMap::new(), headers_of(&[("x-token", "0123456789abcdeg".to_owned())]), twice] {
        assert_eq!(refused(scene.send("secrets", &headers, event.as_bytes()).await), "credential");
    }
    let names = |uri: &str| Names { uris: vec![uri.to_owned()], ..Names::default() };
    for (client, expected) in
        [(Some(names("spiffe://ibm/other")), true), (None, true), (Some(names("spiffe://ibm/sender")), false)]
    {
        let message = Message { headers: &HeaderMap::new(), body: event.as_bytes(), client: client.as_ref() };
        let result = scene.receiver.receive("mtls", message, now).await;
        assert_eq!(result.is_err(), expected, "{client:?}");
    }
    assert_eq!(refused(scene.send("nobody", &HeaderMap::new(), b"{}").await), "unknown_sender");
    scene.settle().await;
    assert_eq!(scene.versions().await, 1);
    assert_eq!((scene.count("ibm", "signature"), scene.count("", "unknown_sender")), (5, 1));
}

#[tokio::test]
async fn what_is_not_understood_changes_nothing_and_is_said() {
    let scene = Scene::new().await;
    let end = scene.end().await;
    let now = SystemTime::now();
    let refused = |result: Result<Accepted, Refusal>| {
        let refusal = result.unwrap_err();
        (refusal.reason(), refusal.to_string())
    };
    let mut unknown = about_to_expire(end);
    unknown["event_type"] = "cert_sold\u{1b}[2J".into();
    let (reason, said) = refused(scene.callback(unknown).await);
    assert!(reason == "unknown_event" && said.contains("cert_sold?[2J"), "{said}");
    let mut stranger = about_to_expire(end);
    stranger["certificates"] = json!([{"cert_crn": "crn:other", "name": "other"}]);
    let (reason, said) = refused(scene.callback(stranger.clone()).await);
    assert!(reason == "unknown_certificate" && said.contains("crn:other or other"), "{said}");
    // Beside one that is ours it is no reason to do nothing.
    let both = json!([{"cert_crn": "crn:other"}, {"cert_crn": "crn:cert:1", "expires_on": millis(end)}]);
    stranger["certificates"] = both;
    let accepted = scene.callback(stranger).await.unwrap();
    assert_eq!((accepted.requested, accepted.unchanged.len()), (vec![NAME.to_owned()], 1));
    for odd in [
        json!({"instance_crn": INSTANCE, "certificates": {}}),
        json!({"instance_crn": INSTANCE, "event_type": "cert_issued", "certificates": [{"expires_on": "soon"}]}),
        json!({"certificates": []}),
    ] {
        assert_eq!(refused(scene.callback(odd.clone()).await).0, "malformed", "{odd}");
    }
    for odd in [json!({"id": "1"}), json!([]), json!({"id": "1", "source": "urn:hotcert:other", "type": 7})] {
        assert_eq!(refused(scene.standard(odd.clone(), now).await).0, "malformed", "{odd}");
    }
    let mut event = expiring("3", NAME, end);
    event["type"] = "com.example.sold".into();
    assert_eq!(refused(scene.standard(event, now).await).0, "unknown_event");
    assert_eq!(refused(scene.standard(expiring("4", "shop/other", end), now).await).0, "unknown_certificate");
    // By its name alone, as long as there is one of it.
    let accepted = scene.standard(expiring("5", "mtls-prod-ledger", end), now).await.unwrap();
    assert_eq!(accepted.requested, ["shop/mtls-prod-ledger"]);
}

#[tokio::test]
async fn a_root_that_expires_is_rolled_over() {
    let scene = Scene::new().await;
    let root = {
        let observed = scene.store.observe().await.unwrap();
        let KeyringState::KeyringView(ring) = &observed.authorities["root-prod-shop"].keyring else {
            panic!("no ring")
        };
        ring.roots[ring.state.signing()].not_after
    };
    let now = SystemTime::now();
    let early = expiring("1", "root-prod-shop", root - Duration::from_secs(3600));
    assert_eq!(scene.standard(early, now).await.unwrap().outcome(), "unchanged");
    let accepted = scene.standard(expiring("2", "root-prod-shop", root), now).await.unwrap();
    assert_eq!(accepted.requested, ["root-prod-shop"]);
    scene.settle().await;
    let observed = scene.store.observe().await.unwrap();
    let KeyringState::KeyringView(ring) = &observed.authorities["root-prod-shop"].keyring else {
        panic!("no ring")
    };
    assert!(
        ring.state.rollover_history.len() == 1
            && ring.state.rollover_history[0].rollover.reason.starts_with("noticed")
    );
    assert_eq!(scene.versions().await, 2, "its leaves are under the new root");
}

#[tokio::test]
async fn what_a_sender_is_not_listened_to_for_changes_nothing() {
    let scene = Scene::new().await;
    let end = scene.end().await;
    let narrow = |change: &dyn Fn(&mut EventSource)| {
        let mut sender = sender(Provider::Standard(Verifier::parse([SECRET]).unwrap()), "urn:hotcert:other");
        change(&mut sender);
        let senders = BTreeMap::from([("standard".to_owned(), sender)]);
        scene._settings.send_replace(Arc::new(NotifyConfig { senders, ..NotifyConfig::default() }));
    };
    let now = SystemTime::now();
    narrow(&|sender| sender.events = vec![What::Changed]);
    let accepted = scene.standard(expiring("1", NAME, end), now).await.unwrap();
    assert!(accepted.unchanged[NAME].contains("expiring is nothing"), "{accepted:?}");
    narrow(&|sender| sender.names = vec!["bank/*".parse().unwrap()]);
    assert_eq!(scene.standard(expiring("2", NAME, end), now).await.unwrap().outcome(), "unchanged");
    narrow(&|_| {});
    let mut passed = 0;
    let limited = loop {
        passed += 1;
        if let Err(refusal) = scene.standard(expiring(&format!("r{passed}"), NAME, end), now).await {
            break refusal;
        }
    };
    assert_eq!((limited.reason(), limited.status()), ("rate", StatusCode::TOO_MANY_REQUESTS));
    assert!(passed >= 98, "{passed}");
}

#[tokio::test]
async fn what_a_manager_says_is_about_those_that_it_keeps() {
    let scene = Scene::new().await;
    let manager = |id: &str| Some(ManagerRef { name: "ibm".into(), id: id.into() });
    let fetched = ServiceCertificateSpec { manager: manager("3f2a"), ..Default::default() };
    let signed = ServiceCertificateSpec {
        authority: "root-prod-shop".into(),
        manager: manager("77b1"),
        ..ServiceCertificateSpec::default()
    };
    for (name, spec) in [
        ("shop/mtls-prod-fetched", &fetched),
        ("bank/mtls-prod-fetched", &fetched),
        ("shop/mtls-prod-signed", &signed),
    ] {
        scene.store.create_certificate(&name.parse().unwrap(), spec).await.unwrap();
    }
    // Another one's, that nobody let this namespace have.
    let stranger = ServiceCertificateSpec { manager: manager("mtls-prod-payments"), ..Default::default() };
    scene.store.create_certificate(&"bank/mtls-prod-stranger".parse().unwrap(), &stranger).await.unwrap();
    let until = millis(scene.end().await);
    let about = json!({"secret_id": "mtls-prod-payments", "secret_expiration": until});
    let accepted = scene.secrets(secret_event("s", "secret_about_to_expire", about)).await.unwrap();
    assert_eq!(accepted.requested, [NAME]);
    for (number, (id, event, requested)) in [
        ("3f2a", "secret_rotated", &["bank/mtls-prod-fetched", "shop/mtls-prod-fetched"][..]),
        ("3f2a", "secret_revoked", &["bank/mtls-prod-fetched", "shop/mtls-prod-fetched"]),
        // It renews it itself, and says so then.
        ("3f2a", "secret_about_to_expire", &[]),
        // What was brought there comes back as an announcement.
        ("77b1", "secret_rotated", &[]),
        ("77b1", "secret_expired", &["shop/mtls-prod-signed"]),
    ]
    .into_iter()
    .enumerate()
    {
        let event = secret_event(&number.to_string(), event, json!({"secret_id": id}));
        assert_eq!(scene.secrets(event).await.unwrap().requested, requested, "{number}");
    }
}

/// JSON of any shape, with the words that are looked for among others.
fn anything() -> impl Strategy<Value = Value> {
    let word = prop_oneof![
        Just("secret_expired".to_owned()),
        Just(INSTANCE.to_owned()),
        Just("crn:cert:1".to_owned()),
        ".{0,12}",
        Just("cert_issued".to_owned()),
        Just("dev.hotcert.expiring".to_owned()),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word.prop_map(Value::from),
    ];
    let key = prop_oneof![
        Just("id"),
        Just("source"),
        Just("type"),
        Just("data"),
        Just("subject"),
        Just("secrets"),
        Just("not_after"),
        Just("secret_id"),
        Just("secret_expiration"),
        Just("event_type"),
        Just("certificates"),
        Just("expires_on"),
        Just("instance_crn"),
        Just("source_instance_crn"),
        Just("expiring_certificates"),
        Just("cert_crn"),
    ];
    leaf.prop_recursive(5, 64, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..8).prop_map(|fields| {
                Value::Object(fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
            }),
        ]
    })
}

#[test]
fn whatever_comes_is_read_or_refused() {
    let verifier = Verifier::parse([SECRET]).unwrap();
    let signer = Signer::parse([SECRET]).unwrap();
    let key = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
    let keys = Keys::of([key.public_key_pem().as_bytes()]).unwrap();
    let signing = EncodingKey::from_rsa_pem(key.serialize_pem().as_bytes()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let now = SystemTime::now();
    let read_all = |body: &[u8]| {
        let signed = headers_of(&signer.headers("1", body, now));
        let message = Message { headers: &signed, body, client: None };
        let _ = standard::read(&verifier, &message, now);
        let _ = secrets_manager::read(&message);
        let _ = runtime.block_on(certificate_manager::read(&keys, &message));
    };
    let cases = ProptestConfig::with_cases(512);
    proptest!(cases.clone(), |(value in anything())| {
        read_all(value.to_string().as_bytes());
        let token = encode(&Header::new(jsonwebtoken::Algorithm::RS256), &value, &signing).unwrap();
        read_all(json!({"data": token}).to_string().as_bytes());
    });
    proptest!(cases, |(body in prop::collection::vec(any::<u8>(), 0..300))| read_all(&body));
}
