//! Which messages are accepted, which are rejected and why, and what each provider's messages mean. The store is a
//! directory with one root and leaves of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hotcert_tls::Names;
use hyper::StatusCode;
use hyper::header::HeaderMap;
use jsonwebtoken::{EncodingKey, Header, encode};
use proptest::prelude::*;
use rcgen::{KeyPair, PKCS_RSA_SHA256};
use serde_json::{Value, json};
use tempfile::TempDir;
use zeroize::Zeroizing;

use super::*;
use crate::api::notification::Pattern;
use crate::api::object_name::ObjectName;
use crate::api::resource::{CertificateAuthoritySpec, ManagerRef, ServiceCertificateSpec};
use crate::external::http_client::{AddressPolicy, Endpoint};
use crate::external::manager::ibm::{self, DEFAULT_GROUP, Ibm, TokenSource};
use crate::external::manager::{Allow, Kind, Manager};
use crate::notify::event_source::{Credential, EventSource, Provider};
use crate::notify::signature::{Signer, Verifier};
use crate::notify::verification_keys::VerificationKeys;
use crate::planner::observed::KeyringState;
use crate::proof::{PROBER, Prober};
use crate::runtime::metrics::ReconcileMetrics;
use crate::runtime::reconcile::Reconciler;
use crate::store::Editor as _;
use crate::store::directory::DirectoryStore;

mod ibm_events;

const INSTANCE: &str = "crn:v1:bluemix:public:cloudcerts:us-south:a/1:2::";
const SECRET: &[u8] = b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const TOKEN: &str = "0123456789abcdef";
const NAME: &str = "shop/mtls-prod-payments";

struct TestReceiver {
    _home: TempDir,
    store: Arc<DirectoryStore>,
    receiver: Receiver<DirectoryStore>,
    key: KeyPair,
    /// Keeps the channel open.
    _config: watch::Sender<Arc<NotifyConfig>>,
    metrics: Metrics,
}

fn sender(provider: Provider, instance: &str) -> EventSource {
    EventSource {
        provider,
        instance: instance.into(),
        events: [IncomingKind::default_kinds(), vec![IncomingKind::Revoked]].concat(),
        names: vec![Pattern::any()],
        authorities: vec![Pattern::any()],
        certificates: BTreeMap::from([("crn:cert:1".to_owned(), NAME.to_owned())]),
    }
}

impl TestReceiver {
    async fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let store = Arc::new(DirectoryStore::open(home.path().join("pki")).unwrap());
        let spec = CertificateAuthoritySpec { namespaces: vec!["shop".into()], ..Default::default() };
        store.create_authority("root-prod-shop", &spec).await.unwrap();
        let spec = ServiceCertificateSpec { authority: "root-prod-shop".into(), ..Default::default() };
        for name in ["mtls-prod-payments", "mtls-prod-orders"] {
            store.create_certificate(&ObjectName::new("shop", name), &spec).await.unwrap();
        }
        let key = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
        let pem = key.public_key_pem();
        let header = Credential::Header { name: "x-token".into(), sha256: sha256_hex(TOKEN.as_bytes()) };
        let clients = Credential::Client(vec!["spiffe://ibm/sender".parse().unwrap()]);
        let senders = [
            ("standard", sender(Provider::Standard(Verifier::parse([SECRET]).unwrap()), "urn:hotcert:other")),
            (
                "ibm",
                sender(
                    Provider::CertificateManager(VerificationKeys::fixed([pem.as_bytes()]).unwrap()),
                    INSTANCE,
                ),
            ),
            ("secrets", sender(Provider::SecretsManager(header), INSTANCE)),
            ("mtls", sender(Provider::SecretsManager(clients), INSTANCE)),
        ];
        let senders = senders.into_iter().map(|(name, sender)| (name.to_owned(), sender)).collect();
        let ibm = Endpoint::new("https://ibm.example", AddressPolicy::default(), None).unwrap();
        let tokens = TokenSource::new(ibm.clone(), ibm::Credential::ApiKey(Zeroizing::default()));
        let kind = Kind::Ibm(Ibm::new(ibm, tokens, DEFAULT_GROUP.to_owned()));
        let ids = ["3f2a", "77b1"].map(|id| id.parse().unwrap()).to_vec();
        let both = BTreeMap::from([("*".to_owned(), ids)]);
        let manager =
            Manager { kind, allow: Allow { both, ..Allow::default() }, trust: None, digest: String::new() };
        let managers = BTreeMap::from([("ibm".to_owned(), Arc::new(manager))]);
        let initial = NotifyConfig { senders, managers: Arc::new(managers), ..NotifyConfig::default() };
        let (config, receiver_config) = watch::channel(Arc::new(initial));
        let metrics = Metrics::default();
        let receiver = Receiver::new(Arc::clone(&store), receiver_config, metrics.clone());
        let test = Self { _home: home, store, receiver, key, _config: config, metrics };
        test.reconcile().await;
        test
    }

    /// Reconciles until nothing is left to do.
    async fn reconcile(&self) {
        let metrics = ReconcileMetrics::default();
        let mut reconciler = Reconciler::new(Arc::clone(&self.store), Prober::new(PROBER), false, metrics);
        while !reconciler.round().await.unwrap().settled {}
    }

    async fn send(&self, sender: &str, headers: &HeaderMap, body: &[u8]) -> Result<Accepted, Rejection> {
        let message = Message { headers, body, client: None };
        self.receiver.receive(sender, message, SystemTime::now()).await
    }

    /// A signed callback of Certificate Manager.
    async fn callback(&self, payload: Value) -> Result<Accepted, Rejection> {
        let key = EncodingKey::from_rsa_pem(self.key.serialize_pem().as_bytes()).unwrap();
        let mut header = Header::new(jsonwebtoken::Algorithm::RS256);
        header.typ = None;
        let body = json!({"data": encode(&header, &payload, &key).unwrap()});
        self.send("ibm", &HeaderMap::new(), body.to_string().as_bytes()).await
    }

    async fn standard(&self, event: Value, at: SystemTime) -> Result<Accepted, Rejection> {
        let body = event.to_string();
        let id = event["id"].as_str().unwrap_or("id");
        let headers = Signer::parse([SECRET]).unwrap().headers(id, body.as_bytes(), at);
        self.send("standard", &headers_of(&headers), body.as_bytes()).await
    }

    async fn secrets(&self, event: Value) -> Result<Accepted, Rejection> {
        let headers = headers_of(&[("x-token", TOKEN.to_owned())]);
        self.send("secrets", &headers, event.to_string().as_bytes()).await
    }

    async fn versions(&self) -> usize {
        let observed = self.store.observe().await.unwrap();
        observed.certificates[&NAME.parse().unwrap()].versions.len()
    }

    /// The end of the published leaf.
    async fn not_after(&self) -> SystemTime {
        let observed = self.store.observe().await.unwrap();
        observed.certificates[&NAME.parse().unwrap()].newest().unwrap().1.leaf.not_after
    }

    async fn serial(&self) -> String {
        let observed = self.store.observe().await.unwrap();
        observed.certificates[&NAME.parse().unwrap()].newest().unwrap().1.leaf.serial.clone()
    }

    async fn root_not_after(&self) -> SystemTime {
        let observed = self.store.observe().await.unwrap();
        let KeyringState::Present(keyring) = &observed.authorities["root-prod-shop"].keyring else {
            panic!("no keyring")
        };
        keyring.roots[keyring.state.signing()].not_after
    }

    fn count(&self, sender: &str, outcome: &'static str) -> u64 {
        let labels = Labels { sender: Arc::from(sender), outcome };
        self.metrics.0.get(&labels).map_or(0, |count| count.get())
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

fn revoked(id: &str, subject: &str) -> Value {
    json!({
        "specversion": "1.0", "id": id, "source": "urn:hotcert:other", "type": "dev.hotcert.revoked",
        "subject": subject,
    })
}

fn secret_event(id: &str, event: &str, secret: Value) -> Value {
    json!({
        "specversion": "1.0", "id": id, "source": INSTANCE, "type": event, "time": "2026-01-01T00:00:00Z",
        "data": {"event_type": event, "secrets": [secret], "source_instance_crn": INSTANCE},
    })
}

#[tokio::test]
async fn an_expiry_rotates_the_certificate_once_however_often_it_is_sent() {
    let test = TestReceiver::new().await;
    let payload = about_to_expire(test.not_after().await);
    let accepted = test.callback(payload.clone()).await.unwrap();
    assert_eq!(accepted.requested, [NAME]);
    // Again, before the request was handled; and to a replica that has not received it.
    assert!(test.callback(payload.clone()).await.unwrap().replay);
    let other = Receiver::new(Arc::clone(&test.store), test.receiver.config.clone(), Metrics::default());
    let headers = HeaderMap::new();
    let key = EncodingKey::from_rsa_pem(test.key.serialize_pem().as_bytes()).unwrap();
    let token = encode(&Header::new(jsonwebtoken::Algorithm::RS256), &payload, &key).unwrap();
    let body = json!({"data": token}).to_string();
    let again = || Message { headers: &headers, body: body.as_bytes(), client: None };
    other.receive("ibm", again(), SystemTime::now()).await.unwrap();
    test.reconcile().await;
    assert_eq!(test.versions().await, 2);
    // After the request was handled and a restart forgot the message.
    let later = Receiver::new(Arc::clone(&test.store), test.receiver.config.clone(), Metrics::default());
    later.receive("ibm", again(), SystemTime::now()).await.unwrap();
    test.reconcile().await;
    assert_eq!(test.versions().await, 2);
    assert_eq!((test.count("ibm", "accepted"), test.count("ibm", "replay")), (1, 1));
}

#[tokio::test]
async fn every_version_of_the_callback_is_parsed() {
    let test = TestReceiver::new().await;
    let end = test.not_after().await;
    let with = |change: &dyn Fn(&mut Value)| {
        let mut payload = about_to_expire(end);
        change(&mut payload);
        payload
    };
    // Each has other content, so that none is a replay of another.
    let iso = crate::api::date::millis(end);
    for (version, payload) in [
        ("4", with(&|_| {})),
        ("4, in digits", with(&|p| p["certificates"][0]["expires_on"] = millis(end).to_string().into())),
        ("4, ISO", with(&|p| p["certificates"][0]["expires_on"] = iso.clone().into())),
        ("3", with(&|p| p["version"] = 3.into())),
        ("4, by name", with(&|p| p["certificates"] = json!([{"name": NAME, "expires_on": millis(end)}]))),
        ("4, expired", with(&|p| p["event_type"] = "cert_expired_renew_required".into())),
    ] {
        let accepted = test.callback(payload).await;
        assert_eq!(accepted.unwrap().requested, [NAME], "{version}");
    }
    let undated = |payload: &mut Value| {
        payload["certificates"][0].as_object_mut().unwrap().remove("expires_on");
    };
    let v2 = test.callback(with(&undated)).await.unwrap();
    let v1 = json!({
        "instance_crn": INSTANCE, "certificate_manager_url": "x", "version": 1,
        "expiring_certificates": [{"cert_crn": "crn:cert:1", "name": "payments", "domains": "payments.shop.svc"}],
    });
    let v1 = test.callback(v1).await.unwrap();
    // They do not say which version they mean, and ours is young.
    for old in [v1, v2] {
        assert!(old.unchanged[NAME].contains("first half of its life"), "{old:?}");
    }
    for (event, outcome) in [
        ("cert_reimported", "unchanged"),
        ("cert_issued", "unchanged"),
        ("cert_renewed", "unchanged"),
        ("cert_order_failed", "warning"),
        ("cert_renew_failed", "warning"),
        ("test_notification_channel", "test"),
    ] {
        let payload = with(&|payload| payload["event_type"] = event.into());
        assert_eq!(test.callback(payload).await.unwrap().outcome().as_str(), outcome, "{event}");
    }
}

#[tokio::test]
async fn events_of_secrets_manager_are_parsed() {
    let test = TestReceiver::new().await;
    let end = crate::api::date::seconds(test.not_after().await);
    let secret = json!({
        "secret_id": "crn:cert:1", "secret_name": "payments", "secret_expiration": end, "domains": "x",
        "secret_group_id": "default", "event_time": "2026-01-01T00:00:00Z", "event_triggered_by": "user",
    });
    for (number, (event, outcome)) in [
        ("com.ibm.cloud.secrets-manager.secret_about_to_expire:in_10_days", "accepted"),
        ("com.ibm.cloud.secrets-manager.secret_expired", "accepted"),
        ("secret_about_to_expire", "accepted"),
        ("com.ibm.cloud.secrets-manager.secret_revoked:manually", "accepted"),
        ("com.ibm.cloud.secrets-manager.secret_rotated:manually", "unchanged"),
        ("com.ibm.cloud.secrets-manager.secret_rotation_failed:x", "warning"),
        ("com.ibm.cloud.secrets-manager.test_event:test", "test"),
    ]
    .into_iter()
    .enumerate()
    {
        let accepted = test.secrets(secret_event(&number.to_string(), event, secret.clone())).await;
        assert_eq!(accepted.unwrap().outcome().as_str(), outcome, "{event}");
    }
    let event = "com.ibm.cloud.secrets-manager.secret_expired";
    let other_serial = json!({"secret_id": "crn:cert:1", "serial_number": "00:01"});
    let accepted = test.secrets(secret_event("s", event, other_serial)).await.unwrap();
    assert!(accepted.unchanged[NAME].contains("another one"), "{accepted:?}");
    assert!(test.secrets(secret_event("s", event, secret)).await.unwrap().replay, "by source and id");
}

#[tokio::test]
async fn unverified_messages_change_nothing_and_are_counted() {
    let test = TestReceiver::new().await;
    let end = test.not_after().await;
    let now = SystemTime::now();
    let body = |token: String| json!({"data": token}).to_string();
    let claims = about_to_expire(end);
    let public = test.key.public_key_pem();
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let unsigned = format!("{}.{}.", part(json!({"alg": "none"})), part(claims.clone()));
    // Signed with the public key as if it were a secret.
    let confused = encode(
        &Header::new(jsonwebtoken::Algorithm::HS256),
        &claims,
        &EncodingKey::from_secret(public.as_bytes()),
    );
    let other = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap().serialize_pem();
    let other = EncodingKey::from_rsa_pem(other.as_bytes()).unwrap();
    let wrong_key = encode(&Header::new(jsonwebtoken::Algorithm::RS256), &claims, &other).unwrap();
    let own = EncodingKey::from_rsa_pem(test.key.serialize_pem().as_bytes()).unwrap();
    let other_algorithm = encode(&Header::new(jsonwebtoken::Algorithm::RS512), &claims, &own).unwrap();
    for (token, what) in [
        (unsigned, "alg: none"),
        (confused.unwrap(), "the public key as a secret"),
        (wrong_key, "another key"),
        (other_algorithm, "another algorithm"),
        ("a.b.c".into(), "no token"),
    ] {
        let rejection = test.send("ibm", &HeaderMap::new(), body(token).as_bytes()).await.unwrap_err();
        assert_eq!(
            (rejection.reason(), rejection.status()),
            ("signature", StatusCode::UNAUTHORIZED),
            "{what}"
        );
    }
    let mut elsewhere = claims.clone();
    elsewhere["instance_crn"] = "crn:v1:evil".into();
    elsewhere["certificate_manager_url"] = "https://evil.example/".into();
    let refused = |result: Result<Accepted, Rejection>| result.unwrap_err().reason();
    assert_eq!(refused(test.callback(elsewhere).await), "instance");

    let event = expiring("1", NAME, end);
    for (at, reason) in [(now - Duration::from_secs(301), "stale"), (now + Duration::from_secs(310), "stale")]
    {
        assert_eq!(refused(test.standard(event.clone(), at).await), reason);
    }
    let mut other_source = event.clone();
    other_source["source"] = "urn:hotcert:evil".into();
    assert_eq!(refused(test.standard(other_source, now).await), "instance");
    let text = event.to_string();
    let other_key = Signer::parse([&b"whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"[..]]).unwrap();
    let forged = headers_of(&other_key.headers("1", text.as_bytes(), now));
    assert_eq!(refused(test.send("standard", &forged, text.as_bytes()).await), "signature");
    assert_eq!(refused(test.send("standard", &HeaderMap::new(), text.as_bytes()).await), "unsigned");
    let signed = Signer::parse([SECRET]).unwrap().headers("2", text.as_bytes(), now);
    let swapped = test.send("standard", &headers_of(&signed), text.as_bytes()).await;
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
        assert_eq!(refused(test.send("secrets", &headers, event.as_bytes()).await), "credential");
    }
    let names = |uri: &str| Names { uris: vec![uri.to_owned()], ..Names::default() };
    for (client, expected) in
        [(Some(names("spiffe://ibm/other")), true), (None, true), (Some(names("spiffe://ibm/sender")), false)]
    {
        let message = Message { headers: &HeaderMap::new(), body: event.as_bytes(), client: client.as_ref() };
        let result = test.receiver.receive("mtls", message, now).await;
        assert_eq!(result.is_err(), expected, "{client:?}");
    }
    assert_eq!(refused(test.send("unknown", &HeaderMap::new(), b"{}").await), "unknown_sender");
    test.reconcile().await;
    assert_eq!(test.versions().await, 1);
    assert_eq!((test.count("ibm", "signature"), test.count("", "unknown_sender")), (5, 1));
}

#[tokio::test]
async fn malformed_and_unknown_events_change_nothing_and_are_reported() {
    let test = TestReceiver::new().await;
    let end = test.not_after().await;
    let now = SystemTime::now();
    let refused = |result: Result<Accepted, Rejection>| {
        let rejection = result.unwrap_err();
        (rejection.reason(), rejection.to_string())
    };
    let mut unknown = about_to_expire(end);
    unknown["event_type"] = "cert_sold\u{1b}[2J".into();
    let (reason, message) = refused(test.callback(unknown).await);
    assert!(reason == "unknown_event" && message.contains("cert_sold?[2J"), "{message}");
    let mut unknown = about_to_expire(end);
    unknown["certificates"] = json!([{"cert_crn": "crn:other", "name": "other"}]);
    let (reason, message) = refused(test.callback(unknown.clone()).await);
    assert!(reason == "unknown_certificate" && message.contains("crn:other or other"), "{message}");
    // Beside one of ours it does not keep the request from being stored.
    let both = json!([{"cert_crn": "crn:other"}, {"cert_crn": "crn:cert:1", "expires_on": millis(end)}]);
    unknown["certificates"] = both;
    let accepted = test.callback(unknown).await.unwrap();
    assert_eq!((accepted.requested, accepted.unchanged.len()), (vec![NAME.to_owned()], 1));
    for odd in [
        json!({"instance_crn": INSTANCE, "certificates": {}}),
        json!({"instance_crn": INSTANCE, "event_type": "cert_issued", "certificates": [{"expires_on": "soon"}]}),
        json!({"certificates": []}),
    ] {
        assert_eq!(refused(test.callback(odd.clone()).await).0, "malformed", "{odd}");
    }
    for odd in [json!({"id": "1"}), json!([]), json!({"id": "1", "source": "urn:hotcert:other", "type": 7})] {
        assert_eq!(refused(test.standard(odd.clone(), now).await).0, "malformed", "{odd}");
    }
    let mut event = expiring("3", NAME, end);
    event["type"] = "com.example.sold".into();
    assert_eq!(refused(test.standard(event, now).await).0, "unknown_event");
    assert_eq!(refused(test.standard(expiring("4", "shop/other", end), now).await).0, "unknown_certificate");
    // By its name alone, as long as one namespace has it.
    let accepted = test.standard(expiring("5", "mtls-prod-orders", end), now).await.unwrap();
    assert_eq!(accepted.requested, ["shop/mtls-prod-orders"]);
}

#[tokio::test]
async fn a_root_that_expires_is_rolled_over() {
    let test = TestReceiver::new().await;
    let root = test.root_not_after().await;
    let now = SystemTime::now();
    let early = expiring("1", "root-prod-shop", root - Duration::from_secs(3600));
    assert_eq!(test.standard(early, now).await.unwrap().outcome().as_str(), "unchanged");
    let accepted = test.standard(expiring("2", "root-prod-shop", root), now).await.unwrap();
    assert_eq!(accepted.requested, ["root-prod-shop"]);
    test.reconcile().await;
    let observed = test.store.observe().await.unwrap();
    let KeyringState::Present(keyring) = &observed.authorities["root-prod-shop"].keyring else {
        panic!("no keyring")
    };
    assert!(
        keyring.state.rollover_history.len() == 1
            && keyring.state.rollover_history[0].rollover.reason.starts_with("noticed")
    );
    assert_eq!(test.versions().await, 2, "its leaves are under the new root");
}

#[tokio::test]
async fn events_that_the_settings_do_not_accept_change_nothing() {
    let test = TestReceiver::new().await;
    let end = test.not_after().await;
    let narrow = |change: &dyn Fn(&mut EventSource)| {
        let mut sender = sender(Provider::Standard(Verifier::parse([SECRET]).unwrap()), "urn:hotcert:other");
        change(&mut sender);
        let senders = BTreeMap::from([("standard".to_owned(), sender)]);
        test._config.send_replace(Arc::new(NotifyConfig { senders, ..NotifyConfig::default() }));
    };
    let now = SystemTime::now();
    narrow(&|sender| sender.events = vec![IncomingKind::Changed]);
    let accepted = test.standard(expiring("1", NAME, end), now).await.unwrap();
    assert!(accepted.unchanged[NAME].contains("do not accept the event expiring"), "{accepted:?}");
    narrow(&|sender| sender.names = vec!["bank/*".parse().unwrap()]);
    let accepted = test.standard(expiring("2", NAME, end), now).await.unwrap();
    assert!(accepted.unchanged[NAME].contains("names does not list it"), "{accepted:?}");
    // Every certificate is no authority.
    narrow(&|sender| sender.authorities = Vec::new());
    let root = expiring("3", "root-prod-shop", test.root_not_after().await);
    let accepted = test.standard(root, now).await.unwrap();
    assert!(accepted.unchanged["root-prod-shop"].contains("authorities does not list it"), "{accepted:?}");
    narrow(&|sender| sender.events = IncomingKind::default_kinds());
    let mut revoked = expiring("4", NAME, end);
    revoked["type"] = "dev.hotcert.revoked".into();
    let accepted = test.standard(revoked, now).await.unwrap();
    assert!(accepted.unchanged[NAME].contains("do not accept the event revoked"), "{accepted:?}");
    test.reconcile().await;
    assert_eq!(test.versions().await, 1);
    narrow(&|_| {});
    let mut accepted = 0;
    let limited = loop {
        accepted += 1;
        if let Err(rejection) = test.standard(expiring(&format!("r{accepted}"), NAME, end), now).await {
            break rejection;
        }
    };
    assert_eq!((limited.reason(), limited.status()), ("rate", StatusCode::TOO_MANY_REQUESTS));
    assert!(accepted >= 96, "{accepted}");
}

#[tokio::test]
async fn events_of_a_manager_concern_the_certificates_it_keeps() {
    let test = TestReceiver::new().await;
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
        test.store.create_certificate(&name.parse().unwrap(), spec).await.unwrap();
    }
    // The id of a certificate that this namespace is not allowed to use.
    let other = ServiceCertificateSpec { manager: manager("mtls-prod-payments"), ..Default::default() };
    test.store.create_certificate(&"bank/mtls-prod-other".parse().unwrap(), &other).await.unwrap();
    let until = millis(test.not_after().await);
    let about = json!({"secret_id": "mtls-prod-payments", "secret_expiration": until});
    let accepted = test.secrets(secret_event("s", "secret_about_to_expire", about)).await.unwrap();
    assert_eq!(accepted.requested, [NAME]);
    for (number, (id, event, requested)) in [
        ("3f2a", "secret_rotated", &["bank/mtls-prod-fetched", "shop/mtls-prod-fetched"][..]),
        ("3f2a", "secret_revoked", &["bank/mtls-prod-fetched", "shop/mtls-prod-fetched"]),
        // The manager renews it itself, and sends another event then.
        ("3f2a", "secret_about_to_expire", &[]),
        // A push comes back as an event.
        ("77b1", "secret_rotated", &[]),
        ("77b1", "secret_expired", &["shop/mtls-prod-signed"]),
    ]
    .into_iter()
    .enumerate()
    {
        let event = secret_event(&number.to_string(), event, json!({"secret_id": id}));
        assert_eq!(test.secrets(event).await.unwrap().requested, requested, "{number}");
    }
}

#[tokio::test]
async fn each_change_at_a_manager_is_fetched_and_one_message_writes_an_object_once() {
    let test = TestReceiver::new().await;
    let manager = Some(ManagerRef { name: "ibm".into(), id: "3f2a".into() });
    let fetched = ServiceCertificateSpec { manager, ..Default::default() };
    let name: ObjectName = "shop/mtls-prod-fetched".parse().unwrap();
    test.store.create_certificate(&name, &fetched).await.unwrap();
    let mut ids = BTreeSet::new();
    // Nothing is handled in between.
    for (id, event) in
        [("1", "secret_rotated"), ("2", "secret_rotated"), ("3", "secret_revoked"), ("4", "secret_rotated")]
    {
        let mut event = secret_event(id, event, json!({"secret_id": "3f2a"}));
        let secrets = event["data"]["secrets"].as_array_mut().unwrap();
        secrets.push(secrets[0].clone());
        assert_eq!(test.secrets(event).await.unwrap().requested, [name.to_string()], "{id}");
        let observed = test.store.observe().await.unwrap();
        let request = observed.certificates[&name].requests["renewal-hint"].clone();
        assert!(ids.insert(request.id), "the manager may have changed it again: {id}");
    }
}

#[tokio::test]
async fn a_revocation_is_not_replaced_by_less_before_it_is_handled() {
    let test = TestReceiver::new().await;
    let now = SystemTime::now();
    for (kind, name) in [("certificate", NAME), ("root", "root-prod-shop")] {
        let end = match kind {
            "root" => test.root_not_after().await,
            _ => test.not_after().await,
        };
        let mut revoked = expiring(&format!("{kind} 1"), name, end);
        revoked["type"] = "dev.hotcert.revoked".into();
        assert_eq!(test.standard(revoked, now).await.unwrap().requested, [name]);
        let later = test.standard(expiring(&format!("{kind} 2"), name, end), now).await.unwrap();
        assert!(later.unchanged[name].contains("reported it revoked"), "{later:?}");
    }
    test.reconcile().await;
    assert!(test.versions().await > 1);
    // Handled: it stands in the way of nothing.
    let end = test.not_after().await;
    let after = test.standard(expiring("3", NAME, end), now).await.unwrap();
    assert!(!format!("{after:?}").contains("reported it revoked"), "{after:?}");
}

#[tokio::test]
async fn a_sender_that_reports_every_serial_as_revoked_has_one_leaf_replaced() {
    let test = TestReceiver::new().await;
    let mut answers = Vec::new();
    for number in 0..5 {
        let mut event = revoked(&number.to_string(), NAME);
        event["data"] = json!({"serial": test.serial().await});
        answers.push(test.standard(event, SystemTime::now()).await.unwrap());
        test.reconcile().await;
    }
    assert_eq!((test.versions().await, &answers[0].requested), (2, &vec![NAME.to_owned()]));
    assert!(answers[4].unchanged[NAME].contains("hotcert rotate replaces it now"), "{answers:?}");
    assert_eq!((test.count("standard", "accepted"), test.count("standard", "limited")), (1, 4));
    // A root likewise.
    let mut root = revoked("root 1", "root-prod-shop");
    let observed = test.store.observe().await.unwrap();
    let signing = observed.authorities["root-prod-shop"].keyring.view().unwrap();
    root["data"] = json!({"serial": signing.roots[signing.state.signing()].serial});
    assert_eq!(test.standard(root, SystemTime::now()).await.unwrap().requested, ["root-prod-shop"]);
    test.reconcile().await;
    let mut root = revoked("root 2", "root-prod-shop");
    root["data"] = json!({"not_after": crate::api::date::seconds(test.root_not_after().await)});
    let answer = test.standard(root, SystemTime::now()).await.unwrap();
    assert!(answer.unchanged["root-prod-shop"].contains("hotcert rollover"), "{answer:?}");
}

#[tokio::test]
async fn what_several_senders_say_at_once_is_recorded_of_each() {
    let test = TestReceiver::new().await;
    let (end, serial) = (test.not_after().await, test.serial().await);
    let now = SystemTime::now();
    let mut revoked = revoked("1", NAME);
    revoked["data"] = json!({"serial": serial});
    let until = crate::api::date::seconds(end);
    let secret = json!({"secret_id": "crn:cert:1", "secret_expiration": until});
    let (first, second, third) = tokio::join!(
        test.standard(revoked, now),
        test.callback(about_to_expire(end)),
        test.secrets(secret_event("s", "secret_about_to_expire", secret)),
    );
    for answer in [first, second, third] {
        assert_eq!(answer.unwrap().requested, [NAME]);
    }
    let observed = test.store.observe().await.unwrap();
    let request = &observed.certificates[&NAME.parse().unwrap()].requests["renewal-hint"];
    assert!(crate::api::request::is_revocation(&request.id), "{request:?}");
    let plain = until.clone();
    for words in [
        "revoked from=standard",
        &format!("also=until={plain},from=ibm"),
        &format!("also=until={until},from=secrets"),
    ] {
        assert!(request.arguments.contains(words), "{words} in {request:?}");
    }
    assert!(request.arguments.starts_with("serial="), "the revocation comes first: {request:?}");
    test.reconcile().await;
    assert_eq!(test.versions().await, 2, "all of it is answered by one");
}

#[tokio::test]
async fn a_message_is_kept_until_the_store_is_back() {
    let test = TestReceiver::new().await;
    let end = test.not_after().await;
    let (store, away) = (test._home.path().join("pki"), test._home.path().join("away"));
    std::fs::rename(&store, &away).unwrap();
    let mut answer = std::pin::pin!(test.standard(expiring("1", NAME, end), SystemTime::now()));
    let early = tokio::time::timeout(Duration::from_millis(100), &mut answer).await;
    assert!(early.is_err(), "{early:?}");
    std::fs::rename(&away, &store).unwrap();
    assert_eq!(answer.await.unwrap().requested, [NAME]);
}

#[tokio::test]
async fn an_ordinary_message_of_standard_webhooks_is_taken() {
    let test = TestReceiver::new().await;
    let until = crate::api::date::seconds(test.not_after().await);
    let now = SystemTime::now();
    let message = json!({
        "type": "certificate.expiring", "timestamp": "2026-01-01T00:00:00Z",
        "data": {"subject": NAME, "not_after": until},
    });
    let send = async |id: &str, message: &Value| {
        let body = message.to_string();
        let headers = Signer::parse([SECRET]).unwrap().headers(id, body.as_bytes(), now);
        test.send("standard", &headers_of(&headers), body.as_bytes()).await
    };
    assert_eq!(send("msg_1", &message).await.unwrap().requested, [NAME]);
    assert!(send("msg_1", &message).await.unwrap().replay, "by the id in the header");
    for part in ["id", "source"] {
        let mut half = message.clone();
        half[part] = "msg_2".into();
        assert_eq!(send("msg_2", &half).await.unwrap_err().reason(), "malformed", "only {part}");
    }
}

/// JSON of any shape, with the strings that the parsers look for among others.
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
fn arbitrary_messages_are_parsed_or_rejected() {
    let verifier = Verifier::parse([SECRET]).unwrap();
    let signer = Signer::parse([SECRET]).unwrap();
    let key = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
    let keys = VerificationKeys::fixed([key.public_key_pem().as_bytes()]).unwrap();
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
