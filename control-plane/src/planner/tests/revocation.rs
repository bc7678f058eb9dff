//! A sender that reports whatever is new as revoked, as with a stolen credential: how often it has anything replaced.

use super::scene::{NEW, OLD, Scene};
use super::*;
use crate::api::request::{self, RENEWAL_HINT};
use crate::planner::observed::Request;
use crate::planner::renewal_hint::{CERTIFICATE_PAUSE, ROOT_PAUSE};

const BETWEEN: Duration = Duration::from_secs(10 * 60);

/// The message of this number, about the certificate with this serial.
fn revoked(number: u64, serial: &str) -> Request {
    let id = request::revocation(&number.to_string());
    Request::parse(&format!("{id} serial={serial} revoked from=stolen")).unwrap()
}

/// Reports each leaf as it appears. Returns how many were replaced.
fn report_every_leaf(scene: &mut Scene, span: Duration) -> u64 {
    let (until, mut newest) = (scene.now + span, 1);
    for number in 1.. {
        if scene.now >= until {
            break;
        }
        let request = revoked(number, &scene.version_mut(newest).leaf.serial.clone());
        let id = request.id.clone();
        scene.certificate().requests.insert(RENEWAL_HINT.into(), request);
        if scene.does().iter().any(|action| action.starts_with("issue")) {
            newest += 1;
            scene.version(newest, OLD);
            scene.version_mut(newest).request = Some(id);
            scene.publish(newest);
        } else {
            let handled = scene.status().handled_requests.unwrap();
            assert_eq!(handled.renewal_hint, Some(id), "it does not wait for the end of the pause");
        }
        scene.now += BETWEEN;
    }
    newest - 1
}

#[test]
fn a_leaf_is_replaced_on_a_revocation_once_a_day() {
    let mut scene = Scene::settled();
    assert_eq!(report_every_leaf(&mut scene, DAY), 1);
    // The commands are not held up.
    scene.ask("rotate", "");
    assert_eq!(scene.does(), ["issue 3: on request"]);
    assert_eq!(report_every_leaf(&mut Scene::settled(), CERTIFICATE_PAUSE * 3), 3);
}

/// A rollover for this reason that has ended.
fn roll(scene: &mut Scene, reason: &str) {
    let now = scene.now;
    let ring = scene.ring();
    ring.roots.insert(root_id(NEW), root(now));
    assert!(ring.state.begin(root_id(NEW), reason.to_owned(), now));
    for phase in [Phase::Distributing, Phase::Reissuing, Phase::Retiring] {
        assert!(ring.state.advance(phase, now));
    }
    scene.version(2, NEW);
    scene.publish(2);
}

fn begins(scene: &mut Scene, number: u64) -> bool {
    scene.authority().requests.insert(RENEWAL_HINT.into(), revoked(number, "1"));
    let does = scene.does();
    let is_answered =
        does.iter().any(|action| action.contains("nothing to do: its root was replaced on a revocation"));
    let begins = does.iter().any(|action| action.starts_with("begin: noticed: serial=1 revoked from=stolen"));
    assert!(is_answered != begins, "{does:?}");
    begins
}

#[test]
fn a_root_is_replaced_on_a_revocation_once_a_week() {
    let mut scene = Scene::settled();
    assert!(begins(&mut scene, 1));
    roll(&mut scene, "noticed: serial=1 revoked from=stolen");
    let began = scene.now;
    for number in 2.. {
        scene.now += BETWEEN * 6;
        if begins(&mut scene, number) {
            break;
        }
    }
    assert_eq!(scene.now, began + ROOT_PAUSE);
}

#[test]
fn a_rollover_for_another_reason_does_not_hold_up_a_revocation_and_a_reversed_one_does() {
    for reason in ["requested: yearly", "noticed: until=2026-05-01T00:00:00Z from=ibm"] {
        let mut scene = Scene::settled();
        roll(&mut scene, reason);
        assert!(begins(&mut scene, 1), "{reason}");
    }
    // By a person, since a message had begun it: the next one does not begin it again.
    let mut scene = Scene::settled();
    roll(&mut scene, "reversed: no reason for it");
    scene.ring().state.rollover_history[0].rollover.reversed = true;
    assert!(!begins(&mut scene, 1));
}
