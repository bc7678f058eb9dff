//! The root of the demo, replaced: on proof from every pod, and not without.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use kit::within;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::demo::{Demo, Pod, hotcert};

pub const AUTHORITY: &str = "root-demo-shop";
const DEADLINE: Duration = Duration::from_secs(120);

/// Asks for it and waits; every pod must have come to another root.
pub fn to_its_end(demo: &Demo) -> Duration {
    let before = roots(demo, &demo.pods());
    let begin = Instant::now();
    let said = hotcert(&["rollover", AUTHORITY, "--watch", "--reason", "a Tuesday", "--timeout", "3m"]);
    let took = begin.elapsed();
    assert!(said.contains("Steady"), "{said}");
    assert_new_root(demo, &before);
    took
}

/// The agent of payments is stopped, as a process is that hangs: the rollover holds there and says so,
/// and goes on by itself when it is back.
pub fn held_by_a_pod_that_does_not_answer(demo: &Demo) {
    let (hanging, others): (Vec<_>, Vec<_>) =
        demo.pods().into_iter().partition(|pod| pod.service == "payments");
    let payments = &hanging[0];
    let before = roots(demo, &others);
    let agent = process_of(payments);
    kill_process(agent, Signal::STOP).unwrap();
    hotcert(&["rollover", AUTHORITY, "--reason", "one pod hangs"]);
    let held = within(DEADLINE, "the rollover to name the pod that holds it", || {
        let status = status();
        let waiting = status["rollover"]["waitingFor"].as_array().cloned().unwrap_or_default();
        let named: Vec<_> = waiting.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        // The others have answered by then, and it alone is left.
        (named.len() == 1 && named[0].contains(&format!("shop/{}", payments.name))).then_some(named)
    });
    eprintln!("held: {held:?}");
    assert_eq!(status()["phase"], "Distributing");
    assert!(roots(demo, &others).is_superset(&before), "nothing was taken away");
    kill_process(agent, Signal::CONT).unwrap();
    within(DEADLINE, "the rollover to end", || (status()["phase"] == "Steady").then_some(()));
    assert_new_root(demo, &before);
}

fn assert_new_root(demo: &Demo, before: &BTreeSet<String>) {
    for pod in demo.pods() {
        let trusted: Vec<Value> = demo.health(&pod)["served"]["roots"].as_array().cloned().unwrap();
        assert_eq!(trusted.len(), 1, "{} trusts one root", pod.service);
        assert!(
            !before.contains(trusted[0]["sha256"].as_str().unwrap()),
            "{} trusts the new one",
            pod.service
        );
    }
}

/// All roots that any of these trusts.
fn roots(demo: &Demo, pods: &[Pod]) -> BTreeSet<String> {
    let trusted = pods.iter().flat_map(|pod| {
        let served = demo.health(pod)["served"]["roots"].clone();
        served.as_array().cloned().unwrap_or_default()
    });
    trusted.map(|root| root["sha256"].as_str().unwrap().to_owned()).collect()
}

fn status() -> Value {
    let fleet: Value = serde_json::from_str(&hotcert(&["status", "--json"])).unwrap();
    let authorities = fleet["authorities"].as_array().unwrap().clone();
    authorities.into_iter().find(|authority| authority["name"] == AUTHORITY).unwrap()["status"].clone()
}

/// The agent's process on the node, by its container's id.
fn process_of(pod: &Pod) -> Pid {
    let id = pod.containers["hotcert-agent"].0.rsplit('/').next().unwrap().to_owned();
    let mut found = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let path = entry.unwrap().path();
        let pid: i32 = path.file_name()?.to_str()?.parse().ok()?;
        let groups = std::fs::read_to_string(Path::new(&path).join("cgroup")).ok()?;
        groups.contains(&id).then_some(pid)
    });
    Pid::from_raw(found.next().expect("a process in the agent's container")).unwrap()
}
