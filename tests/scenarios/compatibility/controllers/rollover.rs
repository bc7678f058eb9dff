//! A rollover in which the controllers take turns: whenever a phase is reached, the one that leads is killed, and the one
//! of the other release takes the next step.

use std::net::SocketAddr;

use kit::agent::{Agent, Launch};
use kit::volume::Volume;
use kit::within;
use tempfile::TempDir;

use super::super::Release::{self, Previous, Today};
use super::super::{end, load};
use super::site::{Directory, Site, Traffic};
use crate::control_plane::{PROOF, TAKEOVER, address, roots};

const PHASES: [&str; 3] = ["Distributing", "Reissuing", "Retiring"];
const LAGGING: &str = "lagging";

/// A pod of payments whose volume shows what is published only when the scenario says so: until then it holds the phase.
struct Lagging {
    agent: Agent,
    volume: Volume,
    _home: TempDir,
}

impl Lagging {
    fn start(site: &impl Site) -> Self {
        let home = TempDir::new().unwrap();
        let volume = Volume::open(home.path().join("volume"));
        publish(&volume, site);
        let proof = SocketAddr::from((address(), PROOF));
        let agent = Launch::bare(2)
            .args(["--log-format", "json", "--admin", "127.0.0.1:0", "--proof", &proof.to_string()])
            .args(["--identity".as_ref(), volume.path.as_path()])
            .ready();
        site.register(LAGGING, proof);
        Self { agent, volume, _home: home }
    }

    fn catch_up(&self, site: &impl Site) {
        publish(&self.volume, site);
    }
}

fn publish(volume: &Volume, site: &impl Site) {
    let files = site.files("payments");
    let files: Vec<_> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    volume.publish_files(&files);
}

/// Waits until this phase waits for the pod that lags and for nothing else.
#[track_caller]
fn wait_held(site: &impl Site, phase: &str) {
    within(TAKEOVER, &format!("{phase} held by {LAGGING}"), || {
        let authority = site.authority();
        let waiting = authority["rollover"]["waitingFor"].as_array()?;
        let held = waiting.len() == 1 && waiting[0].as_str()?.starts_with(&format!("shop/{LAGGING}: "));
        (authority["phase"] == phase && held).then_some(())
    });
}

/// Begun by `first`, with another release in each phase.
fn take_turns(site: &impl Site, first: Release) {
    let lagging = Lagging::start(site);
    let mut leader = (first, site.start(first));
    site.wait_healthy();
    let before = site.versions();
    let authority = site.authority()["root"].clone();

    site.succeeds(first, &["rollover", site.authority_name(), "--reason", "taking turns"]);
    for phase in PHASES {
        wait_held(site, phase);
        let (release, killed) = leader;
        drop(killed);
        site.clear();
        leader = (release.other(), site.start(release.other()));
        lagging.catch_up(site);
    }
    within(TAKEOVER, "the rollover to end", || (site.authority()["phase"] == "Steady").then_some(()));
    site.wait_healthy();

    // And once more the other, which finds nothing to do.
    let ended = site.authority();
    let (release, killed) = leader;
    drop(killed);
    site.clear();
    let _controller = site.start(release.other());
    let cluster = site.authority_name().split('-').nth(1).unwrap();
    let late = format!("mtls-{cluster}-late");
    site.succeeds(release.other(), &["issue", &format!("shop/{late}"), "--authority", site.authority_name()]);
    site.wait_healthy();
    let now = site.authority();
    assert_eq!((&now["phase"], &now["root"]), (&ended["phase"], &ended["root"]));
    assert_ne!(now["root"], authority, "the root was replaced");
    let history = now["rolloverHistory"].as_array().unwrap();
    assert_eq!(history.len(), 1, "{history:#?}");
    assert!(history[0]["reason"].as_str().unwrap().contains("taking turns"), "{history:#?}");
    let overrides = history[0]["overrides"].as_array().map_or(0, Vec::len);
    assert_eq!((&history[0]["forced"], overrides), (&false.into(), 0), "on proof alone");

    let reissued = before.into_iter().map(|(name, version)| (name, version + 1));
    let issued = reissued.chain([(late, 1)]).collect();
    assert_eq!(site.versions(), issued, "each leaf is issued once for the new root");
    let root = now["root"]["sha256"].as_str().unwrap();
    for agent in site.agents().into_iter().chain([&lagging.agent]) {
        assert_eq!(roots(agent), [root]);
    }
}

fn under_traffic(first: Release) {
    let site = Traffic::created_by(first);
    let load = load(&site.storefront.agent);
    take_turns(&site, first);
    end(load);
}

#[test]
fn a_rollover_that_the_previous_controller_begins_is_finished_by_both_in_turns_without_a_failed_request() {
    under_traffic(Previous);
}

#[test]
fn a_rollover_that_todays_controller_begins_is_finished_by_both_in_turns_without_a_failed_request() {
    under_traffic(Today);
}

#[test]
fn on_a_directory_they_take_turns_too() {
    take_turns(&Directory::created_by(Previous), Previous);
    take_turns(&Directory::created_by(Today), Today);
}
