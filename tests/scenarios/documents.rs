//! The documents: every command in them is run as it stands, every manifest is given to the program that reads it,
//! and what they refer to exists. A fenced block says by its marker how it is tested; one without a known marker
//! fails, so that no command goes untested in silence.

pub mod block;
mod links;
mod references;
pub mod script;
mod yaml;

use std::collections::BTreeSet;

use kit::kube::ApiServer;

use block::{Marker, blocks, repository};
use script::{run, run_on};

/// Pages whose commands need nothing but the programs.
const ON_A_MACHINE: [&str; 7] = [
    "README.md",
    "docs/agent.md",
    "docs/certificates.md",
    "docs/getting-started-machine.md",
    "docs/ibm-setup.md",
    "docs/managers.md",
    "docs/root-rollover.md",
];
/// Pages with commands for a cluster as well, of which an API server is enough.
const ON_AN_API_SERVER: [&str; 4] =
    ["docs/injection.md", "docs/notifications.md", "docs/operating.md", "docs/revocation.md"];
/// Run where a controller has been, by `outage`.
const WITHOUT_A_CONTROLLER: [&str; 1] = ["docs/runbook.md"];
/// Run on a whole node, by `tests/node/page.rs`.
const ON_A_NODE: [&str; 1] = ["docs/getting-started-cluster.md"];

#[test]
fn every_block_has_a_marker_that_says_how_it_is_tested() {
    let unknown: Vec<_> = blocks().into_iter().filter(|block| block.marker == Marker::Unknown).collect();
    assert!(unknown.is_empty(), "{unknown:#?}");
}

#[test]
fn every_page_with_commands_is_run() {
    let pages = |markers: &[Marker]| {
        let blocks = blocks().into_iter().filter(|block| markers.contains(&block.marker));
        blocks.map(|block| block.page).collect::<BTreeSet<String>>()
    };
    let run = [&ON_A_MACHINE[..], &ON_AN_API_SERVER, &WITHOUT_A_CONTROLLER, &ON_A_NODE].concat();
    assert_eq!(pages(&[Marker::Sh, Marker::ShCluster]), run.into_iter().map(str::to_owned).collect());
    let cluster = [&ON_AN_API_SERVER[..], &WITHOUT_A_CONTROLLER, &ON_A_NODE].concat();
    assert_eq!(pages(&[Marker::ShCluster]), cluster.into_iter().map(str::to_owned).collect());
}

macro_rules! on_a_machine {
    ($($name:ident: $page:literal),* $(,)?) => {$(
        #[test]
        fn $name() {
            assert!(ON_A_MACHINE.contains(&$page));
            run($page);
        }
    )*};
}

on_a_machine! {
    the_commands_of_the_readme_work: "README.md",
    the_commands_about_the_agent_work: "docs/agent.md",
    the_commands_about_certificates_work: "docs/certificates.md",
    the_commands_to_get_started_on_a_machine_work: "docs/getting-started-machine.md",
    the_commands_about_the_setup_at_ibm_work: "docs/ibm-setup.md",
    the_commands_about_managers_work: "docs/managers.md",
    the_commands_about_root_rollover_work: "docs/root-rollover.md",
}

#[test]
fn the_commands_for_a_cluster_work_on_an_api_server() {
    for page in ON_AN_API_SERVER {
        let (server, _account) = ApiServer::with_hotcert(&["shop"]);
        run_on(page, server.admin_kubeconfig());
    }
}

#[test]
fn the_commands_of_the_test_harness_are_those_that_it_runs() {
    let harness = std::fs::read_to_string(repository().join("tests/run")).unwrap();
    let profile = "test-release";
    assert!(harness.contains(&format!("readonly PROFILE={profile}")));
    let harness = harness.replace("$PROFILE", profile);
    let modes =
        harness.lines().find_map(|line| line.trim().strip_suffix(") mode=${1:-all}; shift || true ;;"));
    let modes: BTreeSet<_> = modes.expect("the modes of tests/run").split(" | ").collect();
    for block in blocks().into_iter().filter(|block| block.marker == Marker::ShHarness) {
        for command in block.commands() {
            let known = match command.strip_prefix("./tests/run") {
                Some(mode) => mode.split_whitespace().next().is_none_or(|mode| modes.contains(mode)),
                None => {
                    command == format!("export PATH=$PWD/target/{profile}:$PATH")
                        || harness.contains(command.trim_start_matches("./"))
                }
            };
            assert!(known, "{}:{}: tests/run does not run {command}", block.page, block.line);
        }
    }
}

#[test]
fn what_is_installed_is_a_program_of_the_workspace() {
    for block in blocks().into_iter().filter(|block| block.marker == Marker::ShInstall) {
        for command in block.commands() {
            let path = command.strip_prefix("cargo install --locked --path ");
            let path = path.unwrap_or_else(|| panic!("{}:{}: {command}", block.page, block.line));
            assert!(repository().join(path).join("src/main.rs").exists(), "{command}");
        }
    }
}

#[test]
fn the_images_are_those_that_the_test_of_a_node_builds() {
    let read = |name: &str| std::fs::read_to_string(repository().join(name)).unwrap();
    let (dockerfile, images) = (read("Dockerfile"), read("tests/cluster/images"));
    for block in blocks().into_iter().filter(|block| block.marker == Marker::ShImages) {
        for command in block.commands() {
            let words: Vec<_> = command.split_whitespace().collect();
            let ["docker", "build", "--target", target, "-t", image, "."] = words[..] else {
                panic!("{}:{}: {command}", block.page, block.line);
            };
            assert!(dockerfile.contains(&format!("FROM ${{BASE}} AS {target}\n")), "{command}");
            let (name, version) = image.split_once(':').unwrap();
            assert!(images.contains(&format!("build {target} \"$LIBRARY/{name}:$VERSION\"")), "{command}");
            assert_eq!(version, env!("CARGO_PKG_VERSION"));
        }
    }
}
