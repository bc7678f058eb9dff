//! What becomes of a candidate, by clocks that the test moves.

#![allow(clippy::unwrap_used)]

use futures_util::FutureExt as _;
use rustls::CertificateError;

use super::*;
use crate::credential::Credential;
use crate::event::Events;
use crate::fixtures::{Pair, Root, client, credential, handshake, issue, root, root_with};
use crate::snapshot::{self, Snapshots};
use crate::source::SourceKind;

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

struct Scene {
    writer: Writer,
    current: Snapshots,
    /// Hours ago, so that what becomes valid in the test's time is valid to TLS libraries by now.
    begin: Moment,
    passed: Duration,
}

impl Scene {
    fn new() -> Self {
        let (publisher, current) = snapshot::channel();
        let writer = Writer {
            policy: Policy { serves: true, ..Policy::default() },
            client_auth: ClientAuth::Require,
            poll: 24 * HOUR,
            publisher,
            reporter: Reporter::default(),
            progress: Progress::default(),
        };
        let begin = Moment { wall: SystemTime::now() - 10 * HOUR, monotonic: Instant::now() };
        Self { writer, current, begin, passed: Duration::ZERO }
    }

    fn now(&self) -> Moment {
        let Moment { wall, monotonic } = self.begin;
        Moment { wall: wall + self.passed, monotonic: monotonic + self.passed }
    }

    fn pass(&mut self, time: Duration) {
        self.passed += time;
    }

    fn consider(&mut self, credential: &Credential) {
        let candidate = Candidate { credential, from: SourceKind::Volume, written_at: None };
        self.writer.consider(candidate, self.now());
    }

    fn next_wait(&mut self) -> Duration {
        self.writer.next_wait(true, self.now().wall)
    }

    fn served(&self) -> Arc<Snapshot> {
        self.current.load().unwrap()
    }

    fn generation(&self) -> u64 {
        self.current.load().map_or(0, |snapshot| snapshot.generation)
    }

    /// Candidates that were not published, by reason.
    fn rejections(&self) -> Vec<(Outcome, RejectionReason, u64)> {
        let candidates = self.writer.reporter.status().candidates;
        candidates.into_iter().filter_map(|((outcome, reason), n)| Some((outcome, reason?, n))).collect()
    }

    fn last_outcome(&self) -> Outcome {
        self.writer.reporter.status().last_attempt.unwrap().outcome
    }
}

fn good(root: &Root) -> Pair {
    issue(root, |_| {})
}

/// The certificate of one leaf beside the key of another, as a half-done writer leaves them.
fn torn(certificate: &Pair, key: &Pair) -> Pair {
    Pair { certificate: certificate.certificate.clone(), key: key.key.clone() }
}

#[tokio::test]
async fn bad_leaf_keeps_the_last_good_one_under_the_new_trust() {
    let (old, new) = (root("old"), root("new"));
    let mut scene = Scene::new();
    scene.consider(&credential(&good(&new), &[&old, &new]));
    let first = scene.served();
    handshake(client(&old, &[&old, &new]), first.server_config(&[]).unwrap()).await.unwrap();

    scene.consider(&credential(&torn(&good(&new), &good(&new)), &[&new]));
    let second = scene.served();
    assert_eq!(second.generation, 2);
    assert!(second.identity.leaf.same_as(&first.identity.leaf));
    let inbound = || second.server_config(&[]).unwrap();
    let leaf = handshake(client(&new, &[&new]), inbound()).await.unwrap();
    assert_eq!(leaf, first.identity.leaf.certificate().to_vec());
    let refused = handshake(client(&old, &[&old, &new]), inbound()).await.unwrap_err();
    let refused = refused.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    assert_eq!(refused, Some(&rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)));

    let report = scene.writer.reporter.status();
    assert_eq!(report.rejected_leaf.unwrap().rejection, Rejection::KeyMismatch);
    assert!(report.rejected_trust.is_none());
    assert_eq!(scene.rejections(), [(Outcome::Refused, RejectionReason::KeyMismatch, 1)]);
}

#[test]
fn bad_bundle_keeps_the_last_good_trust_under_the_new_leaf() {
    let root = root("root");
    let mut scene = Scene::new();
    scene.consider(&credential(&good(&root), &[&root]));
    let first = scene.served();
    scene.consider(&credential(&good(&root), &[]));
    let second = scene.served();
    assert!(!second.identity.leaf.same_as(&first.identity.leaf));
    assert_eq!(second.identity.trust.as_ref().unwrap().roots, first.identity.trust.as_ref().unwrap().roots);
    assert_eq!(scene.rejections(), [(Outcome::Refused, RejectionReason::EmptyBundle, 1)]);
}

#[test]
fn unchanged_content_publishes_nothing() {
    let root = root("root");
    let mut scene = Scene::new();
    let pair = good(&root);
    scene.consider(&credential(&pair, &[&root]));
    let first = scene.served();
    scene.consider(&credential(&pair, &[&root]));
    assert_eq!(scene.last_outcome(), Outcome::Unchanged);
    // Other bytes of the same identity.
    scene.consider(&credential(&pair, &[&root, &root]));
    assert_eq!(scene.last_outcome(), Outcome::Unchanged);
    assert!(Arc::ptr_eq(&scene.served(), &first));
}

#[test]
fn rejected_content_is_counted_once_and_cleared_by_a_good_one() {
    let root = root("root");
    let mut scene = Scene::new();
    let bad = credential(&torn(&good(&root), &good(&root)), &[&root]);
    for _ in 0..3 {
        scene.consider(&bad);
        scene.pass(SECOND);
    }
    assert_eq!(scene.generation(), 0);
    assert_eq!(scene.rejections(), [(Outcome::Refused, RejectionReason::KeyMismatch, 1)]);
    scene.consider(&credential(&good(&root), &[&root]));
    assert_eq!(scene.generation(), 1);
    assert!(scene.writer.reporter.status().rejected_leaf.is_none());
}

#[test]
fn held_candidate_is_published_when_it_becomes_valid() {
    let root = root("root");
    let mut scene = Scene::new();
    scene.consider(&credential(&good(&root), &[&root]));
    // Certificates have whole seconds.
    let since_epoch = (scene.now().wall + HOUR).duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let not_before = SystemTime::UNIX_EPOCH + Duration::from_secs(since_epoch.as_secs());
    let next = credential(&issue(&root, |params| params.not_before = not_before.into()), &[&root]);
    scene.consider(&next);
    assert_eq!((scene.generation(), scene.last_outcome()), (1, Outcome::Held));
    assert_eq!(scene.writer.reporter.status().held.unwrap().not_before, not_before);

    let wait = scene.next_wait();
    assert_eq!(scene.now().wall + wait, not_before);
    scene.pass(wait - MILLISECOND);
    scene.consider(&next);
    assert_eq!(scene.generation(), 1);
    scene.pass(MILLISECOND);
    scene.consider(&next);
    assert_eq!((scene.generation(), scene.last_outcome()), (2, Outcome::Published));
    assert!(scene.writer.reporter.status().held.is_none());
    assert_eq!(scene.rejections(), [(Outcome::Held, RejectionReason::NotYetValid, 1)]);
}

#[test]
fn torn_pair_is_retried_before_it_counts() {
    let root = root("root");
    let mut scene = Scene::new();
    let plain = |pair: &Pair| Credential { atomic: false, ..credential(pair, &[&root]) };
    let (first, second) = (good(&root), good(&root));
    scene.consider(&plain(&first));
    scene.consider(&plain(&torn(&second, &first)));
    assert_eq!((scene.generation(), scene.next_wait()), (1, RETRY));
    scene.pass(RETRY);
    scene.consider(&plain(&second));
    assert_eq!((scene.generation(), scene.rejections()), (2, vec![]));
    assert_eq!(scene.next_wait(), scene.writer.poll);
}

#[test]
fn pair_that_stays_torn_is_rejected_once_it_has_settled() {
    let root = root("root");
    let mut scene = Scene::new();
    let stays = Credential { atomic: false, ..credential(&torn(&good(&root), &good(&root)), &[&root]) };
    let mut retries = 0;
    while scene.rejections().is_empty() {
        assert!(scene.passed <= 2 * SETTLE, "still not rejected after {retries} retries");
        scene.consider(&stays);
        let wait = scene.next_wait();
        scene.pass(wait);
        retries += 1;
    }
    assert!(scene.passed >= SETTLE);
    assert_eq!(scene.rejections(), [(Outcome::Refused, RejectionReason::KeyMismatch, 1)]);
}

#[test]
fn recovery_is_an_event_whether_files_are_swapped_at_once_or_not() {
    let root = root("root");
    for atomic in [true, false] {
        let mut scene = Scene::new();
        let with = |pair: &Pair| Credential { atomic, ..credential(pair, &[&root]) };
        scene.consider(&with(&good(&root)));
        let mut events = Events::of(&scene.writer.reporter.events);
        let stays = with(&torn(&good(&root), &good(&root)));
        while scene.rejections().is_empty() {
            scene.consider(&stays);
            let wait = scene.next_wait();
            scene.pass(wait);
        }
        scene.consider(&with(&good(&root)));
        let mut next = || events.next().now_or_never().flatten();
        assert!(matches!(next(), Some(Event::Refused { .. })), "atomic: {atomic}");
        assert!(matches!(next(), Some(Event::Published { generation: 2, .. })), "atomic: {atomic}");
        assert!(matches!(next(), Some(Event::Recovered)), "atomic: {atomic}");
        assert!(next().is_none());
    }
}

#[test]
fn removed_root_waits_until_plain_files_have_settled() {
    let (kept, removed) = (root("kept"), root("removed"));
    let mut scene = Scene::new();
    let pair = good(&kept);
    scene.consider(&credential(&pair, &[&kept, &removed]));
    let fewer = Credential { atomic: false, ..credential(&pair, &[&kept]) };
    scene.consider(&fewer);
    assert_eq!(scene.generation(), 1);
    scene.pass(SETTLE);
    scene.consider(&fewer);
    assert_eq!(scene.generation(), 2);
}

#[test]
fn expired_root_is_dropped_though_no_byte_changed() {
    let mut scene = Scene::new();
    let not_after = scene.now().wall + HOUR;
    let (stays, expires) = (root("stays"), root_with("expires", |root| root.not_after = not_after.into()));
    let content = credential(&good(&stays), &[&stays, &expires]);
    scene.consider(&content);
    assert_eq!(scene.served().identity.trust.as_ref().unwrap().roots.len(), 2);
    let wait = scene.next_wait();
    assert!(wait > HOUR - 2 * SECOND && wait <= HOUR, "{wait:?}");
    scene.pass(wait);
    scene.consider(&content);
    assert_eq!(scene.generation(), 2);
    let roots = &scene.served().identity.trust.as_ref().unwrap().roots.clone();
    assert_eq!(roots.iter().map(|root| root.subject.as_str()).collect::<Vec<_>>(), ["CN=stays"]);
    assert_eq!(scene.next_wait(), scene.writer.poll);
}

/// A root that ends at this hour of the test.
fn root_until(scene: &Scene, name: &str, end: Duration) -> Root {
    let end = scene.begin.wall + end;
    root_with(name, |params| params.not_after = end.into())
}

#[test]
fn root_that_was_out_of_date_while_the_clock_was_wrong_comes_back() {
    let mut scene = Scene::new();
    let (short, long) = (root_until(&scene, "short", 2 * HOUR), root("long"));
    let content = credential(&good(&long), &[&short, &long]);
    let roots = |scene: &Scene| scene.served().identity.trust.as_ref().unwrap().roots.len();
    scene.pass(5 * HOUR);
    scene.consider(&content);
    assert_eq!(roots(&scene), 1, "the clock is four hours ahead");
    scene.passed = HOUR;
    scene.consider(&content);
    assert_eq!(roots(&scene), 2, "the clock is right, and no byte has changed");
    scene.pass(2 * HOUR);
    scene.consider(&content);
    assert_eq!(roots(&scene), 1, "it has expired");
}

#[test]
fn bundle_whose_only_root_has_expired_trusts_nobody() {
    let mut scene = Scene::new();
    let (short, long) = (root_until(&scene, "short", 2 * HOUR), root("long"));
    let pair = good(&long);
    scene.consider(&credential(&pair, &[&short, &long]));
    scene.pass(3 * HOUR);
    scene.consider(&credential(&pair, &[&short]));
    let served = scene.served();
    let roots = &served.identity.trust.as_ref().unwrap().roots;
    assert_eq!(roots.len(), 1, "the other one is gone, as was published");
    let configs = crate::config::Configs::build(&served.identity, ClientAuth::Require).unwrap();
    let at = |time: SystemTime| {
        rustls::pki_types::UnixTime::since_unix_epoch(time.duration_since(SystemTime::UNIX_EPOCH).unwrap())
    };
    for root in [&short, &long] {
        let sections = crate::credential::pem::sections(good(root).certificate.as_bytes()).unwrap();
        let chain = [sections[0].der.to_vec().into()];
        assert!(!configs.trusts_client(&chain, at(scene.now().wall)));
    }
}

#[test]
fn swap_is_timed_and_a_first_or_held_identity_is_not() {
    let root = root("root");
    let mut scene = Scene::new();
    let changed_at = Some(scene.now().wall);
    let next = |pair: &Pair| Credential { changed_at, ..credential(pair, &[&root]) };
    scene.consider(&next(&good(&root)));
    assert_eq!(scene.served().delivery.changed_at, None);
    scene.consider(&next(&good(&root)));
    assert_eq!(scene.served().delivery.changed_at, changed_at);
    let not_before = scene.now().wall + HOUR;
    let held = next(&issue(&root, |params| params.not_before = not_before.into()));
    scene.consider(&held);
    scene.pass(2 * HOUR);
    scene.consider(&held);
    assert_eq!((scene.generation(), scene.served().delivery.changed_at), (3, None));
}

#[test]
fn list_that_goes_out_of_date_is_judged_at_its_moment_though_no_byte_changed() {
    let root = root("root");
    let mut scene = Scene::new();
    let until = scene.begin.wall + 11 * HOUR;
    let lists = |number: u64, until: SystemTime| {
        crate::fixtures::revocation_list(&root, number, &[], (scene.begin.wall, until)).into_bytes()
    };
    let (late, next) = (lists(1, until), lists(2, until + 24 * HOUR));
    let pair = good(&root);
    let content =
        |lists: &[u8]| Credential { revocation: Ok(lists.to_vec().into()), ..credential(&pair, &[&root]) };
    scene.consider(&content(&late));
    assert_eq!((scene.generation(), scene.last_outcome()), (1, Outcome::Published));
    let wait = scene.next_wait();
    assert!(wait > 11 * HOUR - 2 * SECOND && wait <= 11 * HOUR, "{wait:?}");
    let leaf = scene.served().identity.leaf.clone();
    assert_eq!(scene.served().revocation_fault(scene.now().wall), None);

    scene.pass(wait);
    scene.consider(&content(&late));
    assert_eq!(scene.rejections(), [(Outcome::Refused, RejectionReason::RevocationUnknown, 1)]);
    assert!(scene.served().revocation_fault(scene.now().wall).unwrap().contains("out of date since"));
    // The clock was ahead.
    scene.passed = HOUR;
    scene.consider(&content(&late));
    assert_eq!(scene.last_outcome(), Outcome::Unchanged);
    assert!(scene.writer.reporter.status().rejected_leaf.is_none());

    scene.passed = 12 * HOUR;
    scene.consider(&content(&next));
    assert_eq!((scene.generation(), scene.last_outcome()), (2, Outcome::Published));
    assert!(scene.served().identity.leaf.same_as(&leaf));
}

#[test]
fn refused_lists_hold_up_neither_a_leaf_nor_the_removal_of_a_root() {
    let (kept, removed) = (root("kept"), root("removed"));
    let mut scene = Scene::new();
    scene.consider(&credential(&good(&kept), &[&kept, &removed]));
    let broken =
        |pair: &Pair| Credential { revocation: Ok(b"no list".to_vec().into()), ..credential(pair, &[&kept]) };
    let next = good(&kept);
    scene.consider(&broken(&next));
    assert_eq!(scene.generation(), 2);
    assert_eq!(scene.served().identity.trust.as_ref().unwrap().roots.len(), 1);
    let status = scene.writer.reporter.status();
    assert!(status.rejected_trust.is_none() && status.rejected_leaf.is_none());
    assert_eq!(status.rejected_revocation.unwrap().rejection.reason(), RejectionReason::MalformedPem);
    scene.consider(&broken(&next));
    assert_eq!(scene.rejections(), [(Outcome::Refused, RejectionReason::MalformedPem, 1)]);
    scene.consider(&credential(&next, &[&kept]));
    assert!(scene.writer.reporter.status().rejected_revocation.is_none());
}
