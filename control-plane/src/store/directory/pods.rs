//! The agents registered on this machine: `pods/NAMESPACE/NAME.yaml`. A registration that
//! cannot be read may stand for an agent, so the list of its namespace is incomplete then.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::SystemTime;

use serde::Deserialize;

use super::tree::Tree;
use crate::api::yaml;
use crate::planner::observed::{Pod, PodAgent, PodList};
use crate::store::StoreError;
use crate::store::codec::name;
use crate::store::directory::files;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Registered {
    /// Told apart from others of this name, before and after. Default: the name.
    uid: Option<String>,
    /// That it was pointed at, `secrets/NAMESPACE/SECRET`.
    secret: String,
    /// Of its proof listener.
    proof: Option<SocketAddr>,
    /// Of its admin listener; only a drill asks there.
    admin: Option<SocketAddr>,
    /// `false`: a program that reads the files by itself and cannot be asked.
    #[serde(default = "yes")]
    agent: bool,
}

fn yes() -> bool {
    true
}

/// Those that serve this Secret, with their admin ports.
pub fn agents(tree: &Tree, namespace: &str, secret: &str) -> Vec<(String, Option<SocketAddr>)> {
    let registered = registrations(tree, namespace, &mut Vec::new()).unwrap_or_default();
    let serves = registered.into_iter().filter(|(_, pod)| pod.agent && pod.secret == secret);
    serves.map(|(name, pod)| (name, pod.admin)).collect()
}

pub fn list(tree: &Tree, namespace: &str) -> PodList {
    let at = SystemTime::now();
    let mut problems = Vec::new();
    let pods = read(tree, namespace, &mut problems).unwrap_or_else(|error| {
        problems.push(error.to_string());
        Vec::new()
    });
    PodList { listed_at: at, error: (!problems.is_empty()).then(|| problems.join("; ")), pods }
}

fn read(tree: &Tree, namespace: &str, problems: &mut Vec<String>) -> Result<Vec<Pod>, StoreError> {
    let registered = registrations(tree, namespace, problems)?;
    Ok(registered.into_iter().map(|(name, registered)| registered.pod(namespace, name)).collect())
}

/// By name; what cannot be read is among the problems.
fn registrations(
    tree: &Tree,
    namespace: &str,
    problems: &mut Vec<String>,
) -> Result<Vec<(String, Registered)>, StoreError> {
    let directory = tree.pods(namespace)?;
    let mut found = Vec::new();
    for file in files::names(&directory)? {
        let path = directory.join(&file);
        let registered = match file.strip_suffix(".yaml").filter(|name| name::is_valid(name)) {
            Some(name) => files::need(&path)
                .and_then(|bytes| parse(&bytes).map_err(|cause| files::malformed(&path, cause)))
                .map(|registered| (name.to_owned(), registered)),
            None => Err(files::malformed(&path, "it is no NAME.yaml: rename it or move it away")),
        };
        match registered {
            Ok(registered) => found.push(registered),
            Err(error) => problems.push(error.to_string()),
        }
    }
    Ok(found)
}

fn parse(bytes: &[u8]) -> Result<Registered, String> {
    let text = str::from_utf8(bytes).map_err(|_| "it is no UTF-8")?;
    let read = yaml::read(text).map_err(|error| error.to_string())?;
    let registered: Registered = serde_json::from_value(read).map_err(|error| error.to_string())?;
    if registered.agent && registered.proof.is_none() {
        return Err("give proof: the address of its proof listener, or agent: false".into());
    }
    Ok(registered)
}

impl Registered {
    fn pod(self, namespace: &str, name: String) -> Pod {
        let agent = self.agent.then(|| PodAgent {
            secret: self.secret.clone(),
            watches_api: false,
            address: self.proof,
        });
        Pod {
            uid: self.uid.unwrap_or_else(|| format!("{namespace}/{name}")),
            name,
            mounted_secrets: BTreeSet::from([self.secret]),
            agent,
            // It sees the rename by itself: there is nothing to nudge, whatever is published.
            nudged_revision: Some(u64::MAX),
            proof: None,
        }
    }
}
