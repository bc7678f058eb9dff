//! What is right depends on the time: what was refused while the clock was wrong is taken when it is right, though no byte
//! has changed, and meanwhile nobody is told that all is well.

use hotcert::api::leaf_request::LeafRequest;
use kit::agent::{Agent, Launch};
use kit::client::{SERVER, accepted};
use kit::clock::Clock;
use kit::echo::Echo;
use kit::forge::{Forge, from_now};
use kit::pki::{Credentials, HOUR, Pki, issue, request};
use rustix::process::Signal;
use serde_json::Value;

/// A service whose leaf and root last for a day, which trusts a root besides that ends in two hours.
struct Scene {
    agent: Agent,
    clock: Clock,
    /// A client under the root that ends.
    client: Credentials,
    _pki: Pki,
    _echo: Echo,
}

fn scene(offset: &str, poll: &str) -> Scene {
    let (pki, echo) = (Pki::default(), Echo::default());
    let short = Forge::root_until("ending", from_now(2 * 3600));
    let client = pki.credentials("short", &short.leaf("short"), pki.roots());
    let leaf = issue(&pki.root, &LeafRequest { lifetime: 20 * HOUR, ..request(SERVER) });
    let volume = pki.volume(SERVER);
    volume.publish(&leaf, &format!("{}{}", pki.roots(), short.cert));
    let clock = Clock::new(&pki);
    clock.set(offset);
    let launch = clock.of(Launch::new(&volume.path)).args(["--poll-interval", poll]);
    let agent = launch.inbound("", echo.address).start();
    Scene { agent, clock, client, _pki: pki, _echo: echo }
}

fn roots(health: &Value) -> Option<usize> {
    health["served"]["roots"].as_array().map(Vec::len)
}

impl Scene {
    fn lets_in(&self) -> bool {
        accepted(self.agent.address("inbound"), &self.client)
    }

    #[track_caller]
    fn wait_roots(&self, count: usize) -> Value {
        self.agent.wait_until(&format!("{count} roots"), |health| roots(health) == Some(count))
    }
}

#[test]
fn a_root_that_was_out_of_date_while_the_clock_was_wrong_comes_back_and_each_jump_is_said_once() {
    let scene = scene("+0", "200ms");
    scene.wait_roots(2);
    assert!(scene.lets_in());
    scene.clock.set("+3h");
    let health = scene.wait_roots(1);
    let notice = health["source"]["notices"][0].as_str().unwrap_or_default();
    assert!(notice.contains("CN=ending expired at"), "{health:#}");
    assert!(!scene.lets_in());
    scene.agent.wait_looks(3);
    scene.clock.set("+0");
    let health = scene.wait_roots(2);
    assert_eq!(health["source"]["notices"], serde_json::json!([]));
    assert!(scene.lets_in());
    scene.agent.wait_looks(3);
    for (direction, by) in [("forwards", "3h"), ("back", "3h")] {
        let jumps = scene.agent.logged(&format!("the clock of this machine was set {direction}"));
        assert_eq!(jumps, 1, "{direction} by {by}: {}", scene.agent.log_text());
    }
}

#[test]
fn a_hangup_has_the_same_bytes_judged_by_the_time_that_it_is() {
    let scene = scene("+0", "1h");
    scene.wait_roots(2);
    for (offset, count) in [("+3h", 1), ("+0", 2)] {
        scene.clock.set(offset);
        scene.agent.signal(Signal::HUP);
        scene.wait_roots(count);
        assert_eq!(scene.lets_in(), count == 2);
    }
}

#[test]
fn a_leaf_that_was_out_of_date_while_the_clock_was_wrong_is_served_when_it_is_right() {
    for offset in ["+22h", "-3d"] {
        let scene = scene(offset, "200ms");
        let health = scene.agent.wait_until("judged", |health| health["last_attempt"].is_object());
        assert_eq!((&health["ready"], &health["served"]), (&false.into(), &Value::Null), "{offset}");
        scene.clock.set("+0");
        scene.agent.wait_ready();
        scene.wait_roots(2);
        assert!(scene.lets_in());
    }
}

#[test]
fn a_leaf_that_goes_out_of_date_because_the_clock_is_wrong_makes_the_pod_unready_until_it_is_right() {
    let scene = scene("+0", "200ms");
    scene.agent.wait_ready();
    scene.clock.set("+22h");
    let health = scene.agent.wait_until("unready", |health| health["ready"] == false);
    assert!(health["reason"].as_str().unwrap().contains("expired"), "{health:#}");
    scene.agent.wait_until("refused", |health| health["refused"]["leaf"]["reason"] == "expired");
    scene.clock.set("+0");
    scene.agent.wait_ready();
    scene.agent.wait_until("taken", |health| health["refused"]["leaf"].is_null());
}
