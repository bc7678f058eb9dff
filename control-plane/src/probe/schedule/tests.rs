//! When pods are asked, by a clock that the test moves.

use super::*;
use crate::planner::observed::{ObjectName, Pod};

fn root(name: &str) -> RootId {
    RootId(name.into())
}

fn wanted(uid: &str, roots: &[&str]) -> ProbeRequest {
    ProbeRequest {
        pod: ObjectName::new("shop", format!("pod-{uid}")),
        uid: uid.into(),
        address: "127.0.0.1:9643".parse().unwrap(),
        authority: Some("prod".into()),
        roots: roots.iter().map(|name| root(name)).collect(),
    }
}

fn shown(at: SystemTime, leaf: &str, lets_in: &[(&str, bool)]) -> Proof {
    let lets_in = lets_in.iter().map(|(name, is)| (root(name), *is)).collect();
    Proof {
        taken_at: at,
        leaf_since: at,
        result: Ok(HandshakeResult {
            leaf_sha256: leaf.into(),
            accepts: lets_in,
            ..HandshakeResult::default()
        }),
    }
}

fn ask_for(book: &mut ProofSchedule, wanted: &[ProbeRequest], now: SystemTime) -> Vec<ProbeRequest> {
    book.want(wanted);
    book.due(now)
}

fn look(pods: &[&str], problem: Option<&str>) -> PodList {
    let pod = |uid: &&str| Pod {
        name: format!("pod-{uid}"),
        uid: (*uid).into(),
        mounted_secrets: BTreeSet::new(),
        agent: None,
        nudged_revision: None,
        proof: None,
    };
    PodList { listed_at: UNIX_EPOCH, error: problem.map(Into::into), pods: pods.iter().map(pod).collect() }
}

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_000_000)
}

fn uids(due: &[ProbeRequest]) -> Vec<&str> {
    due.iter().map(|prove| prove.uid.as_str()).collect()
}

/// Asks as soon as it may, and answers the same each time: the pauses between.
fn pauses(
    book: &mut ProofSchedule,
    now: &mut SystemTime,
    answer: impl Fn(SystemTime) -> Proof,
    times: usize,
) -> Vec<u128> {
    let want = [wanted("a", &["new"])];
    let mut pauses = Vec::new();
    for _ in 0..times {
        assert_eq!(uids(&ask_for(book, &want, *now)), ["a"]);
        book.record("a", answer(*now), *now);
        let next = book.next_due().unwrap();
        assert!(ask_for(book, &want, next - Duration::from_millis(1)).is_empty());
        pauses.push(next.duration_since(*now).unwrap().as_millis());
        *now = next;
    }
    pauses
}

#[test]
fn same_answer_is_asked_for_ever_less_often_and_another_begins_anew() {
    let (mut book, mut now) = (ProofSchedule::default(), now());
    let same = |at| shown(at, "old", &[("new", false)]);
    let spaced = [200, 400, 800, 1600, 3200, 6400, 10_000, 10_000];
    assert_eq!(pauses(&mut book, &mut now, same, 8), spaced);
    let changed = |at| shown(at, "old", &[("new", true)]);
    assert_eq!(pauses(&mut book, &mut now, changed, 3), [200, 400, 800]);
    let failed = |at| Proof { taken_at: at, leaf_since: at, result: Err("it refuses".into()) };
    assert_eq!(pauses(&mut book, &mut now, failed, 3), [200, 400, 800]);
    book.reset(Some("another"));
    assert_eq!(pauses(&mut book, &mut now, failed, 1), [1600]);
    book.reset(Some("prod"));
    assert_eq!(pauses(&mut book, &mut now, failed, 2), [200, 400]);
}

#[test]
fn connections_that_come_and_go_are_no_news() {
    let (mut book, mut now) = (ProofSchedule::default(), now());
    let count = std::cell::Cell::new(0);
    let answer = |at| {
        let mut proof = shown(at, "new", &[("new", true)]);
        count.set(count.get() + 1);
        proof.result.as_mut().unwrap().connections_under.insert(root("old"), count.get());
        proof
    };
    assert_eq!(pauses(&mut book, &mut now, answer, 3), [200, 400, 800]);
}

#[test]
fn pod_is_asked_by_one_at_a_time_and_again_when_something_was_published_meanwhile() {
    let mut book = ProofSchedule::default();
    let want = [wanted("a", &["new"])];
    assert_eq!(ask_for(&mut book, &want, now()).len(), 1);
    assert_eq!((ask_for(&mut book, &want, now()).len(), book.next_due()), (0, None));
    book.reset(Some("prod"));
    assert_eq!(ask_for(&mut book, &want, now()).len(), 0);
    book.record("a", shown(now(), "old", &[("new", true)]), now());
    assert_eq!(book.next_due(), Some(now() + FIRST_PAUSE));
}

#[test]
fn wants_of_one_pod_are_one_asking_and_a_new_root_is_asked_about_at_once() {
    let mut book = ProofSchedule::default();
    let foreign = ProbeRequest { authority: Some("other".into()), ..wanted("a", &["foreign"]) };
    let both = [wanted("a", &["old"]), wanted("a", &["new"]), foreign];
    let due = ask_for(&mut book, &both, now());
    assert_eq!(due, [wanted("a", &["new", "old"])]);
    book.record("a", shown(now(), "leaf", &[("new", false), ("old", true)]), now());
    for one in ["new", "old", "new", "old"] {
        assert!(ask_for(&mut book, &[wanted("a", &[one])], now()).is_empty(), "{one} was asked about");
    }
    let due = ask_for(&mut book, &[wanted("a", &["newest"])], now());
    assert_eq!(due, [wanted("a", &["new", "newest", "old"])]);
}

#[test]
fn no_more_than_so_many_are_asked_at_once_and_all_have_their_turn() {
    let mut book = ProofSchedule::default();
    let want: Vec<_> = (0..150).map(|pod| wanted(&format!("{pod:03}"), &["new"])).collect();
    let mut asked = BTreeSet::new();
    let mut now = now();
    for many in [64, 64, 22] {
        let due = ask_for(&mut book, &want, now);
        assert_eq!((due.len(), ask_for(&mut book, &want, now).len()), (many, 0));
        assert_eq!(book.next_due().is_none(), many == AT_ONCE);
        now += Duration::from_millis(1);
        for prove in due {
            book.record(&prove.uid, shown(now, "leaf", &[]), now);
            asked.insert(prove.uid);
        }
    }
    assert_eq!(asked.len(), 150);
}

#[test]
fn proofs_are_put_to_their_pods_and_pods_that_are_gone_forgotten() {
    let mut book = ProofSchedule::default();
    let want = [wanted("a", &["new"]), wanted("b", &["new"]), wanted("c", &["new"])];
    assert_eq!(uids(&ask_for(&mut book, &want, now())), ["a", "b", "c"]);
    let proof = shown(now(), "leaf", &[("new", true)]);
    book.record("a", proof.clone(), now());
    book.record("b", proof.clone(), now());
    let mut pods = BTreeMap::from([("shop".to_owned(), look(&["a", "new"], None))]);
    book.attach(&mut pods);
    let proofs: Vec<_> = pods["shop"].pods.iter().map(|pod| pod.proof.clone()).collect();
    assert_eq!(proofs, [Some(proof.clone()), None]);
    // Of one that is gone, the answer may come yet.
    book.record("c", proof.clone(), now());
    let mut later = BTreeMap::from([("shop".to_owned(), look(&["a", "b", "c"], None))]);
    book.attach(&mut later);
    let proofs: Vec<_> = later["shop"].pods.iter().map(|pod| pod.proof.clone()).collect();
    assert_eq!(proofs, [Some(proof.clone()), None, None]);
    book.attach(&mut BTreeMap::from([("shop".to_owned(), look(&[], Some("forbidden")))]));
    book.attach(&mut later);
    assert_eq!(later["shop"].pods[0].proof, Some(proof));
    book.attach(&mut BTreeMap::new());
    book.attach(&mut later);
    assert_eq!(later["shop"].pods[0].proof, None);
}

#[test]
fn what_nobody_wants_any_more_is_not_waited_for() {
    let mut book = ProofSchedule::default();
    ask_for(&mut book, &[wanted("a", &["new"])], now());
    book.record("a", shown(now(), "leaf", &[]), now());
    assert!(book.next_due().is_some());
    assert_eq!(ask_for(&mut book, &[], now()), []);
    assert_eq!(book.next_due(), None);
}

#[test]
fn clock_that_is_put_back_stops_nobody() {
    let mut book = ProofSchedule::default();
    let want = [wanted("a", &["new"])];
    ask_for(&mut book, &want, now());
    book.record("a", shown(now(), "leaf", &[]), now());
    assert_eq!(ask_for(&mut book, &want, now() - Duration::from_secs(3600)).len(), 1);
}
