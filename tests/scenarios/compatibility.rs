//! Pods are upgraded one after the other, so agents of the previous release and of today work together: app, outbound
//! agent, inbound agent, app, through rotations and a root rollover, without a failed request.

mod controllers;

use std::path::{Path, PathBuf};

use hotcert::pki::authority::Authority;
use kit::agent::{Agent, Launch, previous_agent, previous_hotcert, program};
use kit::app::App;
use kit::client::{SERVER, python};
use kit::pipe::Pipe;
use kit::pki::{Pki, authority, dns, issue, request};
use kit::volume::Volume;

use crate::proof::Rollover;

const CLIENT: &str = "storefront";
const SWAPS: usize = 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Release {
    Previous,
    Today,
}

use Release::{Previous, Today};

impl Release {
    fn launch(self, identity: &Path) -> Launch {
        self.agent(Launch::new(identity))
    }

    /// By the agent of this release.
    fn agent(self, launch: Launch) -> Launch {
        match self {
            Previous => launch.by_program(&previous_agent()),
            Today => launch,
        }
    }

    /// By the controller of this release.
    fn controller(self, launch: Launch) -> Launch {
        launch.by_program(&self.hotcert())
    }

    fn hotcert(self) -> PathBuf {
        match self {
            Previous => previous_hotcert(),
            Today => program("hotcert"),
        }
    }

    fn other(self) -> Self {
        match self {
            Previous => Today,
            Today => Previous,
        }
    }
}

/// One end: an agent, and the volume that it reads.
struct End {
    name: &'static str,
    volume: Volume,
    agent: Agent,
}

impl End {
    /// Publishes a leaf under `issuer` with these roots, and waits until it is served.
    #[track_caller]
    fn rotate(&self, issuer: &Authority, roots: &str) {
        let leaf = issue(issuer, &request(self.name));
        self.volume.publish(&leaf, roots);
        self.agent.wait_serving(&leaf.serial);
    }
}

/// HTTP requests to the outbound agent, some on connections that are kept.
pub fn load(outbound: &Agent) -> Pipe {
    let mut load = python("load.py");
    load.arg(outbound.address("outbound").to_string());
    let mut load = Pipe::program(load);
    assert_eq!(load.line()["running"], true);
    load
}

#[track_caller]
pub fn end(mut load: Pipe) {
    load.end();
    let counts = load.line();
    assert_eq!(counts["failed"], 0, "{counts}");
    assert!(counts["kept"].as_u64().unwrap() > 0 && counts["fresh"].as_u64().unwrap() > 0, "{counts}");
}

fn rotate_and_roll_over(mode: &str, client: Release, server: Release) {
    let (pki, app, new) = (Pki::default(), App::default(), authority("root two"));
    let volume = |name| {
        let volume = pki.volume(name);
        volume.publish(&pki.leaf(name), pki.roots());
        volume
    };
    let inbound = volume(SERVER);
    let agent = server.launch(&inbound.path).inbound(mode, app.address).ready();
    let inbound = End { name: SERVER, volume: inbound, agent };
    let outbound = volume(CLIENT);
    let route = format!("{}#{}", inbound.agent.address("inbound"), dns(SERVER));
    let agent = client.launch(&outbound.path).outbound(mode, route).ready();
    let outbound = End { name: CLIENT, volume: outbound, agent };
    let ends = [&inbound, &outbound];

    let mut running = load(&outbound.agent);
    for _ in 0..SWAPS {
        ends.iter().for_each(|end| end.rotate(&pki.root, pki.roots()));
    }
    let both = format!("{}{}", pki.roots(), new.certificate_pem());
    ends.iter().for_each(|end| end.rotate(&pki.root, &both));
    ends.iter().for_each(|end| end.rotate(&new, &both));
    if mode.is_empty() {
        // The connections that are kept here are TLS connections from before, which are cut with the old root.
        end(running);
        running = load(&outbound.agent);
    }
    ends.iter().for_each(|end| end.rotate(&new, new.certificate_pem()));
    let requests = app.requests();
    kit::until("requests under the new root", || (app.requests() > requests + 50).then_some(()));
    end(running);
}

#[test]
fn previous_client_and_todays_server_carry_tcp_through_a_rollover() {
    rotate_and_roll_over("", Previous, Today);
}

#[test]
fn todays_client_and_previous_server_carry_tcp_through_a_rollover() {
    rotate_and_roll_over("", Today, Previous);
}

#[test]
fn previous_client_and_todays_server_carry_http_through_a_rollover() {
    rotate_and_roll_over("http:", Previous, Today);
}

#[test]
fn todays_client_and_previous_server_carry_http_through_a_rollover() {
    rotate_and_roll_over("http:", Today, Previous);
}

#[test]
fn todays_prober_sees_each_phase_of_a_rollover_of_the_previous_agent() {
    let set = Rollover::default();
    let first = set.publish_first();
    set.each_phase_is_seen(&Previous.launch(&set.volume.path).ready(), &first);
}
