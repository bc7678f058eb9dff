//! Which kind of sidecar the cluster supports. On a node without native sidecars, one is an init container that
//! never completes, and the pod never starts. So native is chosen only when the API server and every node are
//! known to support it.

use std::time::Duration;

use clap::ValueEnum;
use k8s_openapi::api::core::v1::Node;
use kube::api::ListParams;
use kube::{Api, Client};
use tokio::sync::watch;
use tracing::info;

use crate::api::duration;
use crate::inject::sidecar_kind::SidecarKind;

/// The first version with native sidecars enabled by default.
const NATIVE_SINCE: Version = Version { major: 1, minor: 29 };
const DETECT_INTERVAL: Duration = Duration::from_secs(600);
const DETECT_TIMEOUT: Duration = Duration::from_secs(30);
const PAGE: u32 = 500;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SidecarMode {
    /// Native where the API server and every node are of version 1.29 or newer
    Auto,
    /// Always native
    Native,
    /// Always a plain container
    Container,
}

impl SidecarMode {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Native => "native",
            Self::Container => "container",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SidecarDecision {
    pub kind: SidecarKind,
    pub reason: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Version {
    major: u32,
    minor: u32,
}

/// The cluster's versions as reported (`v1.29.3-eks-1`), or why they are unknown.
pub struct Versions {
    pub server: Result<String, String>,
    pub kubelets: Result<Vec<String>, String>,
}

pub fn decide(versions: &Versions) -> SidecarDecision {
    let container = |reason: String| SidecarDecision { kind: SidecarKind::Container, reason };
    let (server, kubelets) = match (&versions.server, &versions.kubelets) {
        (Err(cause), _) => return container(format!("the API server's version is unknown: {cause}")),
        (_, Err(cause)) => return container(format!("the nodes' versions are unknown: {cause}")),
        (Ok(server), Ok(kubelets)) => (server, kubelets),
    };
    if !supports_native(server) {
        return container(format!("the API server is {server}, and native sidecars need 1.29"));
    }
    let old: Vec<_> = kubelets.iter().filter(|kubelet| !supports_native(kubelet)).collect();
    match (old.first(), kubelets.len()) {
        (_, 0) => container("the cluster has no nodes yet, and the first may be older than 1.29".into()),
        (None, count) => SidecarDecision {
            kind: SidecarKind::Native,
            reason: format!("the API server is {server}, and {count} of {count} nodes are 1.29 or newer"),
        },
        (Some(first), count) => container(format!(
            "{} of {count} nodes are older than 1.29, or report no version that is understood, such as {first:?}",
            old.len()
        )),
    }
}

fn supports_native(version: &str) -> bool {
    Version::parse(version).is_some_and(|version| version >= NATIVE_SINCE)
}

impl Version {
    /// Providers report `v1.29.3-gke.1`, and `29+` as a minor version.
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim_start_matches('v').split('.');
        let major = parts.next()?.parse().ok()?;
        let minor = parts.next()?;
        let digits = minor.find(|c: char| !c.is_ascii_digit()).unwrap_or(minor.len());
        Some(Self { major, minor: minor[..digits].parse().ok()? })
    }
}

/// Keeps the decision up to date; returns at once if the mode fixes it.
pub async fn run(mode: SidecarMode, client: Client, decision: watch::Sender<Option<SidecarDecision>>) {
    let fixed = |kind| SidecarDecision { kind, reason: "set by --sidecar".into() };
    match mode {
        SidecarMode::Native => drop(decision.send_replace(Some(fixed(SidecarKind::Native)))),
        SidecarMode::Container => drop(decision.send_replace(Some(fixed(SidecarKind::Container)))),
        SidecarMode::Auto => loop {
            let latest = decide(&read_versions(&client).await);
            // Logged once, and again only when it changes.
            if decision.borrow().as_ref() != Some(&latest) {
                info!(sidecar = %latest.kind, reason = latest.reason, "sidecar kind decided");
                decision.send_replace(Some(latest));
            }
            tokio::time::sleep(DETECT_INTERVAL).await;
        },
    }
}

async fn read_versions(client: &Client) -> Versions {
    let timed_out = |cause| format!("no response within {}: {cause}", duration::format(DETECT_TIMEOUT));
    let server = tokio::time::timeout(DETECT_TIMEOUT, client.apiserver_version()).await;
    let kubelets = tokio::time::timeout(DETECT_TIMEOUT, kubelets(client)).await;
    Versions {
        server: server
            .map_err(|elapsed| timed_out(elapsed.to_string()))
            .and_then(|response| response.map_err(|error| error.to_string()))
            .map(|info| format!("{}.{}", info.major, info.minor)),
        kubelets: kubelets
            .map_err(|elapsed| timed_out(elapsed.to_string()))
            .and_then(|response| response.map_err(|error| error.to_string())),
    }
}

/// In pages: nodes are large objects, and there may be thousands.
async fn kubelets(client: &Client) -> Result<Vec<String>, kube::Error> {
    let nodes = Api::<Node>::all(client.clone());
    let mut versions = Vec::new();
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let list = nodes.list(&page).await?;
        versions.extend(
            list.items.into_iter().map(|node| {
                node.status.and_then(|status| status.node_info).unwrap_or_default().kubelet_version
            }),
        );
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(versions),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decided_kind(server: &str, kubelets: &[&str]) -> SidecarKind {
        let kubelets = kubelets.iter().map(|version| (*version).to_owned()).collect();
        decide(&Versions { server: Ok(server.into()), kubelets: Ok(kubelets) }).kind
    }

    #[test]
    fn native_only_where_everything_is_known_to_support_it() {
        use SidecarKind::{Container, Native};
        let table: &[(&str, &[&str], SidecarKind)] = &[
            ("1.29", &["v1.29.0"], Native),
            ("1.37", &["v1.36.2", "v1.29.15-eks-1a2b", "v1.35.0+k3s1"], Native),
            ("1.29+", &["v1.30.1-gke.100"], Native),
            ("2.0", &["v2.1.0"], Native),
            ("1.28", &["v1.29.0"], Container),
            ("1.20", &["v1.20.2"], Container),
            ("1.30", &["v1.30.0", "v1.28.9"], Container),
            ("1.30", &["v1.30.0", ""], Container),
            ("1.30", &["v1.30.0", "nightly"], Container),
            ("1.30", &[], Container),
            ("", &["v1.30.0"], Container),
            ("1.x", &["v1.30.0"], Container),
        ];
        for (server, kubelets, kind) in table {
            assert_eq!(decided_kind(server, kubelets), *kind, "{server} {kubelets:?}");
        }
    }

    #[test]
    fn an_unknown_version_is_taken_for_an_old_one_with_the_reason() {
        fn no<T>() -> Result<T, String> {
            Err("forbidden".into())
        }
        for (versions, part) in [
            (Versions { server: no(), kubelets: Ok(vec!["v1.30.0".into()]) }, "API server's version"),
            (Versions { server: Ok("1.30".into()), kubelets: no() }, "nodes' versions"),
        ] {
            let decision = decide(&versions);
            assert_eq!(decision.kind, SidecarKind::Container);
            assert!(
                decision.reason.contains(part) && decision.reason.contains("forbidden"),
                "{}",
                decision.reason
            );
        }
    }
}
