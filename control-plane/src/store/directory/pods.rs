//! The agents registered on this machine: `pods/NAMESPACE/NAME.yaml`. A registration that
//! cannot be read may stand for an agent, so the list of its namespace is incomplete then.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::SystemTime;

use serde_json::{Map, Value};

use super::tree::Tree;
use crate::api::yaml;
use crate::planner::observed::{Pod, PodAgent, PodList};
use crate::store::StoreError;
use crate::store::codec::name;
use crate::store::directory::files;

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
    agent: bool,
}

const FIELDS: [&str; 5] = ["secret", "proof", "admin", "agent", "uid"];

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
            None => Err(files::malformed(&path, "it is not NAME.yaml: rename it or move it away")),
        };
        match registered {
            Ok(registered) => found.push(registered),
            Err(error) => problems.push(error.to_string()),
        }
    }
    Ok(found)
}

fn parse(bytes: &[u8]) -> Result<Registered, String> {
    let text = str::from_utf8(bytes).map_err(|_| "it is not UTF-8")?;
    let fields = match yaml::read(text).map_err(|error| format!("it is not YAML: {error}"))? {
        Value::Object(fields) => fields,
        _ => return Err("write one field a line: secret: NAME and proof: ADDRESS:PORT".into()),
    };
    if let Some(field) = fields.keys().find(|field| !FIELDS.contains(&field.as_str())) {
        return Err(format!("{field} is not a field of it; the fields are {}", FIELDS.join(", ")));
    }
    let registered = Registered {
        uid: string(&fields, "uid")?,
        secret: string(&fields, "secret")?
            .ok_or("secret: give the name of the directory under secrets/NAMESPACE that the agent serves")?,
        proof: address(&fields, "proof")?,
        admin: address(&fields, "admin")?,
        agent: match fields.get("agent") {
            None | Some(Value::Null) => true,
            Some(Value::Bool(agent)) => *agent,
            Some(_) => return Err("agent: write true or false".into()),
        },
    };
    if registered.agent && registered.proof.is_none() {
        return Err(
            "proof: give the ADDRESS:PORT of the agent's proof listener, or write agent: false".into()
        );
    }
    Ok(registered)
}

fn string(fields: &Map<String, Value>, name: &str) -> Result<Option<String>, String> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(other) => Err(format!("{name}: {other} is not text: put it in quotes")),
    }
}

fn address(fields: &Map<String, Value>, name: &str) -> Result<Option<SocketAddr>, String> {
    let parse = |text: String| text.parse().map_err(|_| format!("{name}: {text:?} is not ADDRESS:PORT"));
    string(fields, name)?.map(parse).transpose()
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
            proofs: std::collections::BTreeMap::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_field_is_named_with_its_rule() {
        for (file, said) in [
            ("{secret: x, proof: 127.0.0.1}", "proof: \"127.0.0.1\" is not ADDRESS:PORT"),
            ("{secret: x, agent: false, prof: 1}", "prof is not a field of it; the fields are secret, proof"),
            ("{secret: 7, proof: '127.0.0.1:1'}", "secret: 7 is not text"),
            ("{proof: '127.0.0.1:1'}", "secret: give the name"),
            ("{secret: x}", "proof: give the ADDRESS:PORT"),
            ("{secret: x, agent: 1}", "agent: write true or false"),
        ] {
            let error = parse(file.as_bytes()).err().unwrap_or_default();
            assert!(error.starts_with(said), "{file}: {error}");
        }
    }
}
