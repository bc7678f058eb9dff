//! The pods of a namespace that serve a Secret of ours, as the API server has them at this moment: a
//! rollover takes no step on what a watch may not have heard yet. Of a pod only what counts is read.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use k8s_openapi::api::core::v1::{Namespace, Pod as ApiPod};
use kube::api::ListParams;
use kube::core::Request;
use kube::{Api, Client, Resource as _};
use serde::Deserialize;

use super::label::NUDGED;
use crate::api::agent_ports::PROOF;
use crate::planner::observed::{Pod, PodAgent};
use crate::store::StoreError;
use crate::store::kubernetes::api_error;

const PAGE: u32 = 500;
const AGENT: &str = "hotcert-agent";
const SECRET: &str = "hotcert.dev/secret";
const API: &str = "hotcert.dev/api";
/// Set in an agent that follows the API.
const FOLLOWS: &str = "HOTCERT_SECRET";
/// Those that have ended serve nothing.
const NOT_ENDED: &str = "status.phase!=Succeeded,status.phase!=Failed";

/// Those that were scheduled and mount one of `secrets`.
pub async fn list(
    client: &Client,
    namespace: &str,
    secrets: &BTreeSet<String>,
) -> Result<Vec<Pod>, StoreError> {
    let what = format!("listing the pods of {namespace}");
    let request = Request::new(ApiPod::url_path(&(), Some(namespace)));
    let mut pods = Vec::new();
    let mut params = ListParams::default().fields(NOT_ENDED).limit(PAGE);
    loop {
        let page = async {
            let request = request.list(&params).map_err(kube::Error::BuildRequest)?;
            match client.request::<Page>(request).await {
                Err(error) if api_error::is_forbidden(&error) && is_gone(client, namespace).await => {
                    Ok(Page::default())
                }
                answer => answer,
            }
        };
        let page = api_error::answer(&what, page).await?;
        pods.extend(page.items.into_iter().filter_map(|pod| pod.read(secrets)));
        match page.metadata.more.filter(|more| !more.is_empty()) {
            Some(more) => params.continue_token = Some(more),
            None => return Ok(pods),
        }
    }
}

/// The right to the pods of a namespace goes with the namespace, and so do the pods.
async fn is_gone(client: &Client, namespace: &str) -> bool {
    let namespaces = Api::<Namespace>::all(client.clone());
    matches!(namespaces.get_metadata_opt(namespace).await, Ok(None))
}

#[derive(Default, Deserialize)]
struct Page {
    #[serde(default)]
    metadata: PageMetadata,
    #[serde(default)]
    items: Vec<PodObject>,
}

#[derive(Default, Deserialize)]
struct PageMetadata {
    #[serde(default, rename = "continue")]
    more: Option<String>,
}

#[derive(Deserialize)]
struct PodObject {
    metadata: Metadata,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
    #[serde(default)]
    uid: String,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    node_name: Option<String>,
    volumes: Vec<Volume>,
    init_containers: Vec<Container>,
    containers: Vec<Container>,
    ephemeral_containers: Vec<Container>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    #[serde(rename = "podIP")]
    pod_ip: Option<IpAddr>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Volume {
    secret: Option<SecretVolume>,
    projected: Option<Projected>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SecretVolume {
    secret_name: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Projected {
    sources: Vec<Source>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Source {
    secret: Option<Named>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Named {
    name: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Container {
    name: String,
    env: Vec<Variable>,
    env_from: Vec<EnvFrom>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Variable {
    name: String,
    value: Option<String>,
    value_from: Option<ValueFrom>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ValueFrom {
    secret_key_ref: Option<Named>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct EnvFrom {
    secret_ref: Option<Named>,
}

impl PodObject {
    /// `None` if none of it is ours.
    fn read(self, secrets: &BTreeSet<String>) -> Option<Pod> {
        let Self { metadata, spec, status } = self;
        spec.node_name.as_ref().filter(|node| !node.is_empty())?;
        let agent = spec.agent(&metadata.annotations, status.pod_ip);
        let mut mounts: BTreeSet<String> =
            spec.mounts().filter(|name| secrets.contains(*name)).cloned().collect();
        // An agent that follows the API alone mounts nothing, and serves it all the same.
        mounts.extend(agent.iter().map(|agent| agent.secret.clone()).filter(|name| secrets.contains(name)));
        (!mounts.is_empty()).then(|| Pod {
            name: metadata.name,
            uid: metadata.uid,
            mounted_secrets: mounts,
            agent,
            nudged_revision: metadata.annotations.get(NUDGED).and_then(|revision| revision.parse().ok()),
            proofs: BTreeMap::new(),
        })
    }
}

impl Spec {
    fn every_container(&self) -> impl Iterator<Item = &Container> {
        self.init_containers.iter().chain(&self.containers).chain(&self.ephemeral_containers)
    }

    fn agent(&self, annotations: &BTreeMap<String, String>, ip: Option<IpAddr>) -> Option<PodAgent> {
        let agent = self.every_container().find(|container| container.name == AGENT)?;
        let watched_secret = agent.env.iter().find(|variable| variable.name == FOLLOWS);
        let watched_secret =
            watched_secret.and_then(|variable| variable.value.as_deref()).filter(|value| !value.is_empty());
        let by_itself = || Some(watched_secret?.rsplit('/').next()?.to_owned());
        Some(PodAgent {
            secret: annotations.get(SECRET).map(|name| name.trim().to_owned()).or_else(by_itself)?,
            watches_api: watched_secret.is_some() && annotations.get(API).is_none_or(|api| api != "disabled"),
            address: ip.map(|ip| SocketAddr::new(ip, PROOF)),
        })
    }

    /// Names of the Secrets that come into it, in whichever way.
    fn mounts(&self) -> impl Iterator<Item = &String> {
        let volumes = self.volumes.iter().flat_map(|volume| {
            let projected = volume.projected.iter().flat_map(|projected| &projected.sources);
            let projected = projected.filter_map(|source| source.secret.as_ref()?.name.as_ref());
            volume.secret.iter().filter_map(|secret| secret.secret_name.as_ref()).chain(projected)
        });
        let environment = self.every_container().flat_map(|container| {
            let variables = container
                .env
                .iter()
                .filter_map(|variable| variable.value_from.as_ref()?.secret_key_ref.as_ref()?.name.as_ref());
            let whole = container.env_from.iter().filter_map(|from| from.secret_ref.as_ref()?.name.as_ref());
            variables.chain(whole)
        });
        volumes.chain(environment)
    }
}

#[cfg(test)]
mod tests;
