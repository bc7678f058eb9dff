//! When pods are probed, by a clock that the test moves.

use super::*;
use crate::api::object_name::ObjectName;
use crate::planner::observed::HandshakeResult;
use crate::planner::observed::Pod;

fn root(name: &str) -> RootId {
    RootId(name.into())
}

fn probe_request(uid: &str, roots: &[&str]) -> ProbeRequest {
    ProbeRequest {
        pod: ObjectName::new("shop", format!("pod-{uid}")),
        uid: uid.into(),
        address: "127.0.0.1:9643".parse().unwrap(),
        authority: Some("prod".into()),
        roots: roots.iter().map(|name| root(name)).collect(),
    }
}

fn key(uid: &str) -> ProbeKey {
    ProbeKey { uid: uid.into(), authority: Some("prod".into()) }
}

fn proof(at: SystemTime, leaf: &str, accepts: &[(&str, bool)]) -> Proof {
    let accepts = accepts.iter().map(|(name, is)| (root(name), *is)).collect();
    Proof {
        taken_at: at,
        leaf_since: at,
        result: Ok(HandshakeResult { leaf_sha256: leaf.into(), accepts, ..HandshakeResult::default() }),
    }
}

fn request(schedule: &mut ProofSchedule, requests: &[ProbeRequest], now: SystemTime) -> Vec<ProbeRequest> {
    schedule.request(requests);
    schedule.due(now)
}

fn pod_list(pods: &[&str], problem: Option<&str>) -> PodList {
    let pod = |uid: &&str| Pod {
        name: format!("pod-{uid}"),
        uid: (*uid).into(),
        mounted_secrets: BTreeSet::new(),
        agent: None,
        nudged_revision: None,
        proofs: BTreeMap::new(),
    };
    PodList { listed_at: UNIX_EPOCH, error: problem.map(Into::into), pods: pods.iter().map(pod).collect() }
}

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_000_000)
}

fn uids(due: &[ProbeRequest]) -> Vec<&str> {
    due.iter().map(|request| request.uid.as_str()).collect()
}

/// Probes as soon as the schedule allows, and records this result each time. Returns the intervals, in
/// milliseconds.
fn intervals(
    schedule: &mut ProofSchedule,
    now: &mut SystemTime,
    result: impl Fn(SystemTime) -> Proof,
    times: usize,
) -> Vec<u128> {
    let requests = [probe_request("a", &["new"])];
    let mut intervals = Vec::new();
    for _ in 0..times {
        assert_eq!(uids(&request(schedule, &requests, *now)), ["a"]);
        schedule.record(&key("a"), result(*now), *now);
        let next = schedule.next_due().unwrap();
        assert!(request(schedule, &requests, next - Duration::from_millis(1)).is_empty());
        intervals.push(next.duration_since(*now).unwrap().as_millis());
        *now = next;
    }
    intervals
}

#[test]
fn an_unchanged_result_is_probed_less_and_less_often_and_a_changed_one_starts_over() {
    let (mut schedule, mut now) = (ProofSchedule::default(), now());
    let same = |at| proof(at, "old", &[("new", false)]);
    let expected = [200, 400, 800, 1600, 3200, 6400, 10_000, 10_000];
    assert_eq!(intervals(&mut schedule, &mut now, same, 8), expected);
    let changed = |at| proof(at, "old", &[("new", true)]);
    assert_eq!(intervals(&mut schedule, &mut now, changed, 3), [200, 400, 800]);
    let failed = |at| Proof { taken_at: at, leaf_since: at, result: Err("refused".into()) };
    assert_eq!(intervals(&mut schedule, &mut now, failed, 3), [200, 400, 800]);
    schedule.reset(&BTreeSet::from(["another"]));
    assert_eq!(intervals(&mut schedule, &mut now, failed, 1), [1600]);
    schedule.reset(&BTreeSet::from([key("a").uid.as_str()]));
    assert_eq!(intervals(&mut schedule, &mut now, failed, 2), [200, 400]);
}

#[test]
fn changed_connection_counts_do_not_count_as_a_changed_result() {
    let (mut schedule, mut now) = (ProofSchedule::default(), now());
    let count = std::cell::Cell::new(0);
    let result = |at| {
        let mut proof = proof(at, "new", &[("new", true)]);
        count.set(count.get() + 1);
        proof.result.as_mut().unwrap().connections_under.insert(root("old"), count.get());
        proof
    };
    assert_eq!(intervals(&mut schedule, &mut now, result, 3), [200, 400, 800]);
}

#[test]
fn a_pod_is_probed_once_at_a_time_and_again_soon_after_a_publication_in_between() {
    let mut schedule = ProofSchedule::default();
    let requests = [probe_request("a", &["new"])];
    assert_eq!(request(&mut schedule, &requests, now()).len(), 1);
    assert_eq!((request(&mut schedule, &requests, now()).len(), schedule.next_due()), (0, None));
    schedule.reset(&BTreeSet::from([key("a").uid.as_str()]));
    assert_eq!(request(&mut schedule, &requests, now()).len(), 0);
    schedule.record(&key("a"), proof(now(), "old", &[("new", true)]), now());
    assert_eq!(schedule.next_due(), Some(now() + MIN_INTERVAL));
}

#[test]
fn requests_for_one_pod_are_merged_and_a_new_root_is_probed_at_once() {
    let mut schedule = ProofSchedule::default();
    let foreign = ProbeRequest { authority: Some("other".into()), ..probe_request("a", &["foreign"]) };
    let both = [probe_request("a", &["old"]), probe_request("a", &["new"]), foreign.clone()];
    let due = request(&mut schedule, &both, now());
    assert_eq!(due, [foreign, probe_request("a", &["new", "old"])], "each authority sees for itself");
    schedule.record(&key("a"), proof(now(), "leaf", &[("new", false), ("old", true)]), now());
    for one in ["new", "old", "new", "old"] {
        assert!(
            request(&mut schedule, &[probe_request("a", &[one])], now()).is_empty(),
            "{one} was probed again"
        );
    }
    let due = request(&mut schedule, &[probe_request("a", &["newest"])], now());
    assert_eq!(due, [probe_request("a", &["newest"])], "no step asks for the others any more");
    schedule.record(&key("a"), proof(now(), "leaf", &[("newest", true)]), now());
    let due = request(&mut schedule, &[probe_request("a", &["newest", "old"])], now());
    assert_eq!(due, [probe_request("a", &["newest", "old"])]);
}

#[test]
fn probes_are_limited_and_every_pod_gets_its_turn() {
    let mut schedule = ProofSchedule::default();
    let requests: Vec<_> = (0..150).map(|pod| probe_request(&format!("{pod:03}"), &["new"])).collect();
    let mut probed = BTreeSet::new();
    let mut now = now();
    for many in [64, 64, 22] {
        let due = request(&mut schedule, &requests, now);
        assert_eq!((due.len(), request(&mut schedule, &requests, now).len()), (many, 0));
        assert_eq!(schedule.next_due().is_none(), many == MAX_CONCURRENT);
        now += Duration::from_millis(1);
        for request in due {
            schedule.record(&ProbeKey::of(&request), proof(now, "leaf", &[]), now);
            probed.insert(request.uid);
        }
    }
    assert_eq!(probed.len(), 150);
}

#[test]
fn proofs_are_attached_to_their_pods_and_pods_that_are_gone_are_forgotten() {
    let mut schedule = ProofSchedule::default();
    let requests = [probe_request("a", &["new"]), probe_request("b", &["new"]), probe_request("c", &["new"])];
    assert_eq!(uids(&request(&mut schedule, &requests, now())), ["a", "b", "c"]);
    let proof = proof(now(), "leaf", &[("new", true)]);
    schedule.record(&key("a"), proof.clone(), now());
    schedule.record(&key("b"), proof.clone(), now());
    let mut pods = BTreeMap::from([("shop".to_owned(), pod_list(&["a", "new"], None))]);
    schedule.attach(&mut pods, now());
    let proofs: Vec<_> = pods["shop"].pods.iter().map(|pod| pod.proof("prod").cloned()).collect();
    assert_eq!(proofs, [Some(proof.clone()), None]);
    // The result for a pod that is gone may still arrive.
    schedule.record(&key("c"), proof.clone(), now());
    let mut later = BTreeMap::from([("shop".to_owned(), pod_list(&["a", "b", "c"], None))]);
    schedule.attach(&mut later, now());
    let proofs: Vec<_> = later["shop"].pods.iter().map(|pod| pod.proof("prod").cloned()).collect();
    assert_eq!(proofs, [Some(proof.clone()), None, None]);
    schedule.attach(&mut BTreeMap::from([("shop".to_owned(), pod_list(&[], Some("forbidden")))]), now());
    schedule.attach(&mut later, now());
    assert_eq!(later["shop"].pods[0].proof("prod"), Some(&proof));
    schedule.attach(&mut BTreeMap::new(), now());
    schedule.attach(&mut later, now());
    assert_eq!(later["shop"].pods[0].proof("prod"), None);
}

#[test]
fn a_pod_that_is_not_requested_any_more_is_not_probed() {
    let mut schedule = ProofSchedule::default();
    request(&mut schedule, &[probe_request("a", &["new"])], now());
    schedule.record(&key("a"), proof(now(), "leaf", &[]), now());
    assert!(schedule.next_due().is_some());
    assert_eq!(request(&mut schedule, &[], now()), []);
    assert_eq!(schedule.next_due(), None);
}

#[test]
fn a_clock_that_is_set_back_delays_no_probe() {
    let mut schedule = ProofSchedule::default();
    let requests = [probe_request("a", &["new"])];
    request(&mut schedule, &requests, now());
    schedule.record(&key("a"), proof(now(), "leaf", &[]), now());
    assert_eq!(request(&mut schedule, &requests, now() - Duration::from_secs(3600)).len(), 1);
}

#[test]
fn a_proof_from_before_the_clock_was_set_back_is_forgotten() {
    let mut schedule = ProofSchedule::default();
    request(&mut schedule, &[probe_request("a", &["new"])], now());
    schedule.record(&key("a"), proof(now(), "leaf", &[]), now());
    let mut pods = BTreeMap::from([("shop".to_owned(), pod_list(&["a"], None))]);
    schedule.attach(&mut pods, now() - Duration::from_secs(1));
    schedule.attach(&mut pods, now());
    assert_eq!(pods["shop"].pods[0].proof("prod"), None);
}
