//! Simulates a Secret, a webhook configuration, a clock, and a replica that takes each step as it falls due.

use std::time::UNIX_EPOCH;

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhook, WebhookClientConfig};

use super::pair::{Pair, Root, ServerNames};
use super::*;

const HOUR: Duration = Duration::from_secs(3600);
const OVERLAP: Duration = Duration::from_secs(300);
const TIMING: Timing = Timing { lifetime: Duration::from_secs(90 * 3600), overlap: OVERLAP };

struct World {
    now: SystemTime,
    secret: Option<Secret>,
    webhook: MutatingWebhookConfiguration,
    /// What was served and what was trusted, with the time it began, the latest last.
    served: Vec<(SystemTime, String)>,
    trusted: Vec<(SystemTime, Vec<String>)>,
    steps: usize,
}

impl World {
    fn new() -> Self {
        let entry = |name: &str| MutatingWebhook {
            name: name.into(),
            client_config: WebhookClientConfig::default(),
            ..MutatingWebhook::default()
        };
        let webhook = MutatingWebhookConfiguration {
            webhooks: Some(ENTRIES.iter().map(|name| entry(name)).collect()),
            ..MutatingWebhookConfiguration::default()
        };
        let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        Self { now, secret: None, webhook, served: Vec::new(), trusted: Vec::new(), steps: 0 }
    }

    /// A certificate has been served for an hour.
    fn steady() -> Self {
        let mut world = Self::new();
        world.advance(HOUR);
        assert_eq!(world.phase(), "steady");
        world
    }

    fn names(&self) -> ServerNames {
        WebhookConfiguration::server_names(
            WebhookConfiguration::read(&self.webhook).as_ref(),
            ClusterDomain::default().service_names("hotcert-webhook", "hotcert-system"),
        )
    }

    fn state(&self) -> SecretState {
        SecretState::read(self.secret.as_ref(), &self.names(), self.now)
    }

    fn observe(&self) -> Observed {
        self.state().observe(&self.names(), WebhookConfiguration::read(&self.webhook).as_ref(), self.now)
    }

    fn phase(&self) -> &'static str {
        self.observe().phase().as_str()
    }

    /// Takes the next step, as `WebhookCertificate::reconcile` does.
    fn step(&mut self) -> Step {
        let (names, mut state) = (self.names(), self.state());
        let configuration = WebhookConfiguration::read(&self.webhook);
        let step = plan(&self.observe(), self.now, TIMING);
        match step {
            Step::Wait(_) => {}
            Step::Trust => {
                let patch = configuration.unwrap().patch(&state.bundle());
                for (entry, patch) in
                    self.webhook.webhooks.iter_mut().flatten().zip(patch["webhooks"].as_array().unwrap())
                {
                    let ca_bundle = patch["clientConfig"]["caBundle"].clone();
                    entry.client_config.ca_bundle = serde_json::from_value(ca_bundle).unwrap();
                }
            }
            _ => {
                let trusted =
                    configuration.map(|configuration| configuration.roots(self.now)).unwrap_or_default();
                state.apply(step, &names, trusted, TIMING.lifetime, self.now).unwrap();
                self.secret = Some(state.write(self.secret.take(), SECRET_NAME));
            }
        }
        self.record();
        step
    }

    /// Replicas keep serving the last good pair.
    fn record(&mut self) {
        if let Some(current) = self.state().current {
            let issuer = current.leaf.issuer.clone();
            if self.served.last().is_none_or(|(_, last)| *last != issuer) {
                self.served.push((self.now, issuer));
            }
        }
        let trusted = self.trusted();
        if self.trusted.last().is_none_or(|(_, last)| *last != trusted) {
            self.trusted.push((self.now, trusted));
        }
    }

    fn trusted(&self) -> Vec<String> {
        let roots =
            WebhookConfiguration::read(&self.webhook).map(|configuration| configuration.roots(self.now));
        roots.into_iter().flatten().map(|root| root.subject).collect()
    }

    /// Takes steps until none is due.
    fn reconcile_until_idle(&mut self) -> Option<SystemTime> {
        for _ in 0..20 {
            self.steps += 1;
            if let Step::Wait(until) = self.step() {
                return until;
            }
        }
        panic!("steps without end: {:?}", self.observe());
    }

    /// Advances the clock, from one due step to the next.
    fn advance(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(due) = self.reconcile_until_idle().filter(|due| *due <= end) {
            assert!(due > self.now, "waiting for a time in the past");
            self.now = due;
        }
        self.now = end;
    }

    /// An API server or a replica may learn of any change late, by up to the overlap. Whatever the
    /// combination, the API server must trust the root of the leaf that the replica serves.
    #[track_caller]
    fn assert_every_served_leaf_was_trusted(&self) {
        for (index, (since, issuer)) in self.served.iter().enumerate().skip(1) {
            let until = self.served.get(index + 1).map_or(self.now, |(at, _)| *at) + OVERLAP;
            // An API server that is behind by nearly the overlap.
            let stale = |at: &SystemTime| *at + OVERLAP - Duration::from_millis(1);
            for (index, (from, trusted)) in self.trusted.iter().enumerate() {
                let to = self.trusted.get(index + 1).map_or(self.now + OVERLAP, |(at, _)| stale(at));
                let overlaps = to >= *since && *from < until;
                assert!(
                    !overlaps || trusted.contains(issuer),
                    "{issuer} was served to an API server that trusted {trusted:?} since {from:?}"
                );
            }
        }
    }

    fn data(&mut self) -> &mut std::collections::BTreeMap<String, ByteString> {
        self.secret.as_mut().unwrap().data.as_mut().unwrap()
    }

    fn set(&mut self, key: &str, value: &str) {
        self.data().insert(key.into(), ByteString(value.into()));
    }

    fn set_bundle(&mut self, entry: usize, bundle: &str) {
        let entries = self.webhook.webhooks.as_mut().unwrap();
        entries[entry].client_config.ca_bundle = Some(ByteString(bundle.into()));
    }

    #[track_caller]
    fn assert_steady(&self, what: &str) {
        let state = self.state();
        assert_eq!(self.phase(), "steady", "{what}: {:?}", self.observe());
        assert_eq!(self.trusted(), [state.current.unwrap().leaf.issuer.clone()], "{what}");
    }
}

#[test]
fn the_first_certificate_is_served_within_a_second() {
    let mut world = World::new();
    world.advance(Duration::from_secs(1));
    assert!(world.state().current.is_some());
    world.assert_steady("after a second");
}

#[test]
fn renewals_never_serve_a_leaf_whose_root_is_not_trusted() {
    let mut world = World::new();
    world.advance(TIMING.lifetime * 4);
    assert!(world.served.len() >= 6, "{:?}", world.served);
    assert!(world.steps < 60, "{} steps", world.steps);
    world.assert_every_served_leaf_was_trusted();
}

#[test]
fn no_signing_key_is_stored() {
    let mut world = World::steady();
    let names: Vec<_> = world.data().keys().cloned().collect();
    assert_eq!(names, ["ca.crt", "revision", "tls.crt", "tls.key"]);
    let state = world.state();
    let current = state.current.as_ref().unwrap();
    let (leaf, key, root) = (&current.certificate, &current.key, current.root.pem.as_bytes());
    assert!(Pair::validate(leaf, key, root, world.now).is_ok());
    // The key is the leaf's, not the root's.
    assert!(Pair::validate(root, key, root, world.now).is_err());
}

#[test]
fn every_lost_or_edited_field_is_repaired() {
    type Edit = fn(&mut World);
    let edits: &[(&str, Edit)] = &[
        ("Secret deleted", |world| world.secret = None),
        ("Secret emptied", |world| world.data().clear()),
        ("key deleted", |world| drop(world.data().remove("tls.key"))),
        ("key of another", |world| {
            let other = Pair::issue(&world.names(), HOUR, world.now).unwrap();
            world.set("tls.key", &String::from_utf8_lossy(&other.key));
        }),
        ("leaf garbled", |world| world.set("tls.crt", "-----BEGIN CERTIFICATE-----\nAA")),
        ("bundle deleted", |world| drop(world.data().remove("ca.crt"))),
        ("bundle garbled", |world| world.set("ca.crt", "none")),
        ("comment in the bundle", |world| {
            let bundle = format!("# ours\n{}", world.state().bundle());
            world.set("ca.crt", &bundle);
        }),
        ("revision garbled", |world| world.set("revision", "many")),
        ("next deleted", |world| world.data().retain(|name, _| !name.starts_with("next"))),
        ("next garbled", |world| world.set("next.key", "?")),
        ("annotations deleted", |world| world.secret.as_mut().unwrap().metadata.annotations = None),
        ("one caBundle emptied", |world| world.set_bundle(1, "")),
        ("one caBundle garbled", |world| world.set_bundle(0, "no PEM at all")),
        ("both caBundles of another", |world| {
            let other = Pair::issue(&world.names(), HOUR, world.now).unwrap().root.pem;
            world.set_bundle(0, &other);
            world.set_bundle(1, &other);
        }),
        ("long asleep", |world| world.now += TIMING.lifetime * 2),
    ];
    let renewal = TIMING.lifetime * 2 / 3;
    let phases = [
        ("steady", HOUR),
        ("distributing", renewal - HOUR + OVERLAP / 2),
        ("retiring", renewal - HOUR + OVERLAP * 3 / 2),
    ];
    for (phase, age) in phases {
        for (what, edit) in edits {
            let mut world = World::steady();
            world.advance(age);
            assert_eq!(world.phase(), phase);
            edit(&mut world);
            world.advance(OVERLAP * 4);
            world.assert_steady(&format!("{what} while {phase}"));
        }
    }
}

#[test]
fn the_leaf_of_a_deleted_secret_stays_trusted_while_replicas_serve_it() {
    let mut world = World::steady();
    let before = world.trusted();
    world.secret = None;
    world.advance(Duration::from_secs(1));
    assert!(world.state().current.is_some());
    assert!(world.trusted().contains(&before[0]) && world.trusted().len() == 2);
    world.advance(OVERLAP);
    world.assert_steady("after the overlap");
}

#[test]
fn the_overlap_starts_over_when_the_root_was_removed() {
    let mut world = World::steady();
    world.advance(TIMING.lifetime * 2 / 3 - HOUR);
    world.reconcile_until_idle();
    let (old, waiting) = (world.state().roots[1].pem.clone(), world.state().roots[0].subject.clone());
    world.now += OVERLAP - Duration::from_secs(1);
    world.set_bundle(0, &old);
    world.reconcile_until_idle();
    world.now += Duration::from_secs(2);
    world.reconcile_until_idle();
    assert_eq!(world.phase(), "distributing");
    assert!(world.trusted().contains(&waiting));
    world.advance(OVERLAP);
    assert_eq!(world.state().current.unwrap().root.subject, waiting);
}

#[test]
fn names_follow_the_webhook_configuration() {
    let mut world = World::steady();
    let names = world.state().current.unwrap().leaf.names.labels();
    let service = "dns:hotcert-webhook.hotcert-system.svc";
    assert_eq!(names, [service.to_owned(), format!("{service}.cluster.local")]);
    let urls = ["https://127.0.0.1:9443/mutate/pods", "https://[::1]:9443/x"];
    for (entry, url) in world.webhook.webhooks.as_mut().unwrap().iter_mut().zip(urls) {
        entry.client_config.url = Some(url.into());
    }
    world.advance(OVERLAP * 3);
    world.assert_steady("after a change of names");
    let names = world.state().current.unwrap().leaf.names.labels();
    assert!(names.contains(&"ip:127.0.0.1".into()) && names.contains(&"ip:::1".into()), "{names:?}");
}

#[test]
fn foreign_entries_are_left_alone() {
    let mut world = World::new();
    world.webhook.webhooks.as_mut().unwrap()[1].name = "pods.example.com".into();
    world.webhook.metadata.resource_version = Some("17".into());
    let patch = WebhookConfiguration::read(&world.webhook).unwrap().patch("bundle");
    let entry = serde_json::json!({"name": ENTRIES[0], "clientConfig": {"caBundle": "YnVuZGxl"}});
    assert_eq!(patch, serde_json::json!({"metadata": {"resourceVersion": "17"}, "webhooks": [entry]}));
    world.webhook.webhooks.as_mut().unwrap().remove(0);
    assert!(WebhookConfiguration::read(&world.webhook).is_none());
}

#[test]
fn other_fields_of_the_secret_stay_and_the_revision_increases() {
    let mut world = World::steady();
    let before = world.state().revision;
    world.set("note", "mine");
    world.secret.as_mut().unwrap().metadata.labels = Some([("team".into(), "a".into())].into());
    world.advance(TIMING.lifetime);
    assert!(world.state().revision > before);
    assert!(world.data().contains_key("note"));
    assert!(world.secret.unwrap().metadata.labels.unwrap().contains_key("team"));
}

#[test]
fn a_bundle_is_parsed_root_by_root() {
    let world = World::new();
    let [a, b] = [1, 2].map(|_| Pair::issue(&world.names(), HOUR, world.now).unwrap());
    let leaf = String::from_utf8(a.certificate.clone()).unwrap();
    let bundle = format!("{}junk\n{leaf}{}{}", a.root.pem, b.root.pem, a.root.pem);
    assert_eq!(Root::parse_bundle(bundle.as_bytes(), world.now), [a.root.clone(), b.root]);
    assert_eq!(Root::parse_bundle(a.root.pem.as_bytes(), world.now + 2 * HOUR), []);
    assert_ne!(a.root.subject, "");
}
