//! The objects: the files that people write, and beside each, under state/, what hotcert says and was
//! requested about it. A person's file is not rewritten for that: its comments stay.
//!
//! A file that cannot be read is a problem of that object alone. While it cannot, the spec that was last
//! reported on counts, so that nothing is decided as if the object were not there.

use std::collections::BTreeMap;
use std::path::Path;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::tree::Tree;
use crate::api::yaml;
use crate::digest::sha256_hex;
use crate::planner::observed::{Request, ResourceVersion};
use crate::store::directory::files;
use crate::store::{ObjectRef, StoreError};

const API_VERSION: &str = "hotcert.dev/v1alpha1";
const PREFIX: &str = "hotcert.dev/";
const REPORT: &str = "report.json";
const REQUESTS: &str = "requests.json";

/// An object as it is seen.
#[derive(Debug)]
pub struct Object<Spec, Status> {
    pub resource_version: ResourceVersion,
    pub generation: i64,
    pub spec: Spec,
    pub status: Status,
    pub requests: BTreeMap<String, Request>,
}

/// What a person wrote.
struct ObjectFile<Spec> {
    spec: Spec,
    /// By verb.
    requested: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
struct Report<Spec, Status> {
    spec: Spec,
    status: Status,
}

/// What a command requested.
#[derive(Serialize, Deserialize)]
struct CommandRequest {
    text: String,
    /// What the file said of this verb then: once it says something else, the file is newer.
    #[serde(default)]
    over: Option<String>,
}

/// `None` if there is no such file, or none that ever could be read.
pub fn read_object<Spec, Status>(
    tree: &Tree,
    about: &ObjectRef,
    problems: &mut Vec<String>,
) -> Result<Option<Object<Spec, Status>>, StoreError>
where
    Spec: Serialize + DeserializeOwned,
    Status: DeserializeOwned + Default,
{
    let resource_version = resource_version(tree, about)?;
    let kept = tree.state_of(about)?;
    let mut name = |error: StoreError| problems.push(error.to_string());
    let report: Option<Report<Spec, Status>> = record(&kept.join(REPORT)).unwrap_or_else(|error| {
        name(error);
        None
    });
    let requested = record(&kept.join(REQUESTS)).unwrap_or_else(|error| {
        name(error);
        None
    });
    let written = match read(tree, about) {
        Ok(None) => return Ok(None),
        Ok(Some(written)) => Some(written),
        Err(error) => {
            name(error);
            None
        }
    };
    let (spec, in_file, status) = match (written, report) {
        (Some(written), report) => {
            (written.spec, Some(written.requested), report.map(|report| report.status).unwrap_or_default())
        }
        (None, Some(report)) => (report.spec, None, report.status),
        (None, None) => return Ok(None),
    };
    let mut requests = BTreeMap::new();
    for (verb, text) in merged(in_file, requested.unwrap_or_default()) {
        match Request::parse(&text) {
            Some(request) => drop(requests.insert(verb, request)),
            None => problems.push(format!(
                "{}: the annotation {PREFIX}{verb} is not a request: write an id of up to 64 characters, then words",
                tree.object(about)?.display()
            )),
        }
    }
    Ok(Some(Object { resource_version, generation: generation(&spec), spec, status, requests }))
}

pub fn report<Spec, Status>(
    tree: &Tree,
    about: &ObjectRef,
    status: &Status,
    over: &ResourceVersion,
) -> Result<(), StoreError>
where
    Spec: Serialize + DeserializeOwned,
    Status: Serialize + DeserializeOwned,
{
    let path = tree.state_of(about)?.join(REPORT);
    let spec = match read::<Spec>(tree, about) {
        Ok(None) => return Err(missing(about)),
        Ok(Some(written)) => written.spec,
        Err(error) => match record::<Report<Spec, Status>>(&path)? {
            Some(before) => before.spec,
            None => return Err(error),
        },
    };
    if resource_version(tree, about)? != *over {
        return Err(StoreError::Conflict(tree.object(about)?.display().to_string()));
    }
    write_record(&path, &Report { spec, status })
}

/// Changes with the file of a person, with every request and with every status.
fn resource_version(tree: &Tree, about: &ObjectRef) -> Result<ResourceVersion, StoreError> {
    let (file, state) = (tree.object(about)?, tree.state_of(about)?);
    let marks = [file, state.join(REPORT), state.join(REQUESTS)].map(|path| files::mark(&path));
    Ok(ResourceVersion(sha256_hex(marks.concat().as_bytes())[..16].to_owned()))
}

pub fn ask(tree: &Tree, about: &ObjectRef, verb: &str, text: &str) -> Result<(), StoreError> {
    let wrong = |what: String, cause: &str| StoreError::Malformed { what, cause: cause.into() };
    if verb.is_empty() || verb.len() > 63 || !verb.chars().all(|c| c.is_ascii_lowercase() || c == '-') {
        return Err(wrong("the request".into(), "its verb is one word, such as rotate"));
    }
    if Request::parse(text).is_none() {
        let cause = "write an id of up to 64 characters, then up to a thousand of words";
        return Err(wrong(format!("the request to {verb}"), cause));
    }
    let path = tree.state_of(about)?.join(REQUESTS);
    let mut written = read::<Value>(tree, about)?.ok_or_else(|| missing(about))?;
    let mut requested: BTreeMap<String, CommandRequest> = record(&path)?.unwrap_or_default();
    let over = written.requested.remove(verb);
    requested.insert(verb.to_owned(), CommandRequest { text: text.to_owned(), over });
    write_record(&path, &requested)
}

/// As [`ask`]; a conflict if anything of the object was changed.
pub fn ask_over(
    tree: &Tree,
    about: &ObjectRef,
    verb: &str,
    text: &str,
    over: &ResourceVersion,
) -> Result<(), StoreError> {
    let path = tree.object(about)?;
    if std::fs::symlink_metadata(&path).is_err() {
        return Err(missing(about));
    }
    if resource_version(tree, about)? != *over {
        return Err(StoreError::Conflict(path.display().to_string()));
    }
    ask(tree, about, verb, text)
}

/// Writes the file of an object that is not there yet.
pub fn create<Spec: Serialize>(tree: &Tree, about: &ObjectRef, spec: &Spec) -> Result<(), StoreError> {
    let path = tree.object(about)?;
    if std::fs::symlink_metadata(&path).is_ok() {
        return Err(StoreError::Conflict(path.display().to_string()));
    }
    write(&path, about, spec, &BTreeMap::new())
}

/// Removes the file of an object. The requests about it go with it: they are not those of another that gets its name.
pub fn delete(tree: &Tree, about: &ObjectRef) -> Result<(), StoreError> {
    let path = tree.object(about)?;
    if !files::remove_file(&path)? {
        return Err(missing(about));
    }
    files::remove_file(&tree.state_of(about)?.join(REQUESTS)).map(drop)
}

/// Writes the file of an object, whatever is there. Requests in it are kept, comments are not.
pub fn replace<Spec: Serialize>(tree: &Tree, about: &ObjectRef, spec: &Spec) -> Result<(), StoreError> {
    let path = tree.object(about)?;
    let requested =
        read::<Value>(tree, about).ok().flatten().map(|before| before.requested).unwrap_or_default();
    write(&path, about, spec, &requested)
}

fn write<Spec: Serialize>(
    path: &Path,
    about: &ObjectRef,
    spec: &Spec,
    requested: &BTreeMap<String, String>,
) -> Result<(), StoreError> {
    let mut metadata = match about {
        ObjectRef::Authority(name) => json!({ "name": name }),
        ObjectRef::Certificate(name) => json!({ "name": name.name, "namespace": name.namespace }),
    };
    if !requested.is_empty() {
        let annotations: BTreeMap<_, _> =
            requested.iter().map(|(verb, text)| (format!("{PREFIX}{verb}"), text)).collect();
        metadata["annotations"] = json!(annotations);
    }
    let mut spec = json!(spec);
    if let Value::Object(fields) = &mut spec {
        fields.retain(|_, value| !value.is_null());
    }
    let object =
        json!({ "apiVersion": API_VERSION, "kind": kind(about), "metadata": metadata, "spec": spec });
    if let Some(directory) = path.parent() {
        files::make(directory, 0o777)?;
    }
    files::replace(path, yaml::write(&object).as_bytes(), files::PUBLIC)
}

/// What is requested of each verb, the newer of the two.
fn merged(
    in_file: Option<BTreeMap<String, String>>,
    requested: BTreeMap<String, CommandRequest>,
) -> BTreeMap<String, String> {
    let known = in_file.is_some();
    let mut texts = in_file.unwrap_or_default();
    for (verb, CommandRequest { text, over }) in requested {
        if !known || texts.get(&verb) == over.as_ref() {
            texts.insert(verb, text);
        }
    }
    texts
}

fn read<Spec: Serialize + DeserializeOwned>(
    tree: &Tree,
    about: &ObjectRef,
) -> Result<Option<ObjectFile<Spec>>, StoreError> {
    let path = tree.object(about)?;
    let Some(bytes) = files::read(&path)? else { return Ok(None) };
    parse(&bytes, about).map(Some).map_err(|cause| files::malformed(&path, cause))
}

fn parse<Spec: Serialize + DeserializeOwned>(
    bytes: &[u8],
    about: &ObjectRef,
) -> Result<ObjectFile<Spec>, String> {
    let text = str::from_utf8(bytes).map_err(|_| "it is not UTF-8")?;
    let mut object = match yaml::read(text).map_err(|error| error.to_string())? {
        Value::Object(object) => object,
        _ => return Err("it is not an object with apiVersion, kind, metadata and spec".into()),
    };
    let mut take = |key: &str| object.remove(key).unwrap_or_default();
    let (version, given) = (take("apiVersion"), take("kind"));
    if version != API_VERSION || given != kind(about) {
        return Err(format!("it must be of apiVersion {API_VERSION} and kind {}", kind(about)));
    }
    let metadata: ObjectMeta =
        serde_json::from_value(take("metadata")).map_err(|error| format!("metadata: {error}"))?;
    let given = take("spec");
    take("status");
    if let Some(field) = object.keys().next() {
        return Err(format!("{field} is not a field of it: see apiVersion, kind, metadata and spec"));
    }
    let (name, namespace) = match about {
        ObjectRef::Authority(name) => (name, None),
        ObjectRef::Certificate(name) => (&name.name, Some(&name.namespace)),
    };
    if metadata.name.as_ref() != Some(name) {
        return Err(format!("metadata.name must be that of the file, {name}"));
    }
    if metadata.namespace.is_some() && metadata.namespace.as_ref() != namespace {
        return Err("metadata.namespace must be that of the directory; an authority has none".into());
    }
    let spec: Spec = serde_json::from_value(given.clone()).map_err(|error| format!("spec: {error}"))?;
    unknown("spec", &given, &json!(spec))?;
    let annotations = metadata.annotations.unwrap_or_default();
    let requested = annotations
        .into_iter()
        .filter_map(|(key, text)| Some((key.strip_prefix(PREFIX)?.to_owned(), text)))
        .collect();
    Ok(ObjectFile { spec, requested })
}

/// A field that is misspelt would be left out in silence.
fn unknown(path: &str, given: &Value, understood: &Value) -> Result<(), String> {
    let (Value::Object(given), Value::Object(understood)) = (given, understood) else { return Ok(()) };
    for (key, value) in given {
        let path = format!("{path}.{key}");
        match understood.get(key) {
            Some(known) => unknown(&path, value, known)?,
            None => return Err(format!("{path} is not a field; there are {}", fields(understood))),
        }
    }
    Ok(())
}

fn fields(of: &Map<String, Value>) -> String {
    of.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// A number that differs for another spec, since a file has no counter.
fn generation<Spec: Serialize>(spec: &Spec) -> i64 {
    let digest = sha256_hex(json!(spec).to_string().as_bytes());
    i64::from_str_radix(&digest[..8], 16).unwrap_or(0)
}

fn kind(about: &ObjectRef) -> &'static str {
    match about {
        ObjectRef::Authority(_) => "CertificateAuthority",
        ObjectRef::Certificate(_) => "ServiceCertificate",
    }
}

fn missing(about: &ObjectRef) -> StoreError {
    StoreError::Missing(match about {
        ObjectRef::Authority(name) => format!("{} {name}", kind(about)),
        ObjectRef::Certificate(name) => format!("{} {name}", kind(about)),
    })
}

fn record<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, StoreError> {
    let Some(bytes) = files::read(path)? else { return Ok(None) };
    let parsed = serde_json::from_slice(&bytes);
    parsed.map(Some).map_err(|error| files::malformed(path, format!("{error}: remove it")))
}

fn write_record<T: Serialize>(path: &Path, record: &T) -> Result<(), StoreError> {
    let text =
        serde_json::to_vec_pretty(record).map_err(|error| files::malformed(path, error.to_string()))?;
    files::replace(path, &text, files::PRIVATE)
}
