//! The settings file, as far as both rooms that share it need it: the files it consists of ([`ConfigFiles`]), their
//! validation ([`Validator`]), and its section `managers`. Topics and senders are parsed in
//! [`crate::notify::config`].

mod files;
mod validator;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hyper::Method;
use serde::Deserialize;

use crate::external::http_client::Endpoint;
use crate::external::manager::https::{Https, ID, Pointers, Put, RequestTemplate};
use crate::external::manager::ibm::{Credential, DEFAULT_GROUP, IAM, Ibm, Profile, TokenSource};
use crate::external::manager::{Allow, AllowedIds, Kind, Manager, Managers};
use crate::pki::x509_facts;

pub use files::ConfigFiles;
pub use validator::Validator;

/// One item of `managers`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ManagerItem {
    name: String,
    kind: KindName,
    /// By namespace, or "*": the ids that its certificates may use.
    #[serde(default)]
    allow: IdsByNamespace,
    /// As allow, of certificates that are only fetched.
    #[serde(default)]
    allow_fetch: IdsByNamespace,
    /// As allow, of certificates that are only pushed.
    #[serde(default)]
    allow_push: IdsByNamespace,
    /// A file with the roots to trust, whatever the manager sends.
    trust: Option<String>,
    /// A file with the roots of the manager's own certificate.
    ca: Option<String>,
    #[serde(default)]
    allow_networks: Vec<String>,
    /// ibm-secrets-manager: the URL of the instance.
    url: Option<String>,
    /// ibm-secrets-manager: where IAM issues tokens.
    iam_url: Option<String>,
    /// ibm-secrets-manager: a file with the API key.
    api_key: Option<String>,
    /// ibm-secrets-manager: instead of an API key, a profile that trusts the controller's service account.
    trusted_profile: Option<TrustedProfileItem>,
    /// ibm-secrets-manager: the secret group of the secrets that are named.
    secret_group: Option<String>,
    /// https: URLs with {id} in their paths.
    get: Option<String>,
    put: Option<String>,
    put_method: Option<PutMethod>,
    /// https: by the name of a header, a file with its value.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// To the parts of a response and, without put_pointers, of a push.
    pointers: Option<PointersItem>,
    put_pointers: Option<PutPointersItem>,
}

type IdsByNamespace = BTreeMap<String, Vec<String>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum KindName {
    IbmSecretsManager,
    Https,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
enum PutMethod {
    #[serde(rename = "POST")]
    Post,
    #[serde(rename = "PUT")]
    Put,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TrustedProfileItem {
    id: Option<String>,
    name: Option<String>,
    /// The service account's token.
    token_file: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PointersItem {
    certificate: String,
    key: String,
    chain: Option<String>,
    roots: Option<String>,
}

/// Roots are not pushed.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PutPointersItem {
    certificate: String,
    key: String,
    chain: Option<String>,
}

pub fn managers(validator: &mut Validator<'_>, items: &[ManagerItem]) -> Managers {
    let mut managers = Managers::new();
    let mut names = BTreeSet::new();
    for (at, item) in validator.items("managers", items) {
        validator.name(&at, &item.name, &mut names);
        let since = validator.files_read();
        let allow = allow(validator, &at, item);
        let trust = item.trust.as_ref().and_then(|file| trust(validator, &format!("{at}.trust"), file));
        if let Some(kind) = kind(validator, &at, item) {
            let digest = validator.digest(item, since);
            managers.insert(item.name.clone(), Arc::new(Manager { kind, allow, trust, digest }));
        }
    }
    managers
}

fn allow(validator: &mut Validator<'_>, at: &str, item: &ManagerItem) -> Allow {
    let ManagerItem { allow, allow_fetch, allow_push, .. } = item;
    if allow.is_empty() && allow_fetch.is_empty() && allow_push.is_empty() {
        validator.error(
            &format!("{at}.allow"),
            "name the namespaces that may use this manager, and the ids: { shop: ['*'] }; \
            allowFetch and allowPush are for one direction alone",
        );
    }
    let mut ids = |key: &str, ids: &IdsByNamespace| -> AllowedIds {
        let at = format!("{at}.{key}");
        ids.iter().map(|(namespace, ids)| (namespace.clone(), validator.parse_all(&at, ids))).collect()
    };
    Allow {
        both: ids("allow", allow),
        fetch: ids("allowFetch", allow_fetch),
        push: ids("allowPush", allow_push),
    }
}

fn trust(validator: &mut Validator<'_>, at: &str, file: &str) -> Option<String> {
    let text = validator.text(at, file)?;
    if x509_facts::roots(text.as_bytes()).is_empty() {
        validator.error(at, format!("{file} contains no certificate"));
    }
    Some(format!("{}\n", text.as_str()))
}

/// A key that the kind has no use for is an error.
fn kind(validator: &mut Validator<'_>, at: &str, item: &ManagerItem) -> Option<Kind> {
    let has_ibm_keys = item.url.is_some()
        || item.iam_url.is_some()
        || item.api_key.is_some()
        || item.trusted_profile.is_some()
        || item.secret_group.is_some();
    let has_https_keys = item.get.is_some()
        || item.put.is_some()
        || item.put_method.is_some()
        || item.pointers.is_some()
        || item.put_pointers.is_some()
        || !item.headers.is_empty();
    let is_misplaced = match item.kind {
        KindName::IbmSecretsManager => has_https_keys,
        KindName::Https => has_ibm_keys,
    };
    if is_misplaced {
        validator.error(
            at,
            "url, iamUrl, apiKey, trustedProfile and secretGroup are for ibm-secrets-manager; \
            get, put, putMethod, headers, pointers and putPointers for https",
        );
    }
    match item.kind {
        KindName::IbmSecretsManager => ibm(validator, at, item).map(Kind::Ibm),
        KindName::Https => https(validator, at, item).map(Kind::Https),
    }
}

fn ibm(validator: &mut Validator<'_>, at: &str, item: &ManagerItem) -> Option<Ibm> {
    let Some(url) = &item.url else {
        validator.error(at, "give url, the URL of the instance");
        return None;
    };
    let instance = endpoint(validator, &format!("{at}.url"), item, url)?;
    let iam = item.iam_url.as_deref().unwrap_or(IAM);
    let iam = endpoint(validator, &format!("{at}.iamUrl"), item, iam)?;
    let group = item.secret_group.as_deref().unwrap_or(DEFAULT_GROUP);
    if group.is_empty() || !group.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)) {
        let at = format!("{at}.secretGroup");
        validator.error(&at, "the name of a secret group has letters, digits, dots, hyphens and underscores");
    }
    let credential = ibm_credential(validator, at, item)?;
    Some(Ibm::new(instance, TokenSource::new(iam, credential), group.to_owned()))
}

fn ibm_credential(validator: &mut Validator<'_>, at: &str, item: &ManagerItem) -> Option<Credential> {
    match (&item.api_key, &item.trusted_profile) {
        (Some(key), None) => validator.text(&format!("{at}.apiKey"), key).map(Credential::ApiKey),
        (None, Some(TrustedProfileItem { id, name, token_file })) => {
            let profile = match (id, name) {
                (Some(id), None) if !id.is_empty() => Profile::Id(id.clone()),
                (None, Some(name)) if !name.is_empty() => Profile::Name(name.clone()),
                _ => {
                    let at = format!("{at}.trustedProfile");
                    validator.error(&at, "give either id, which begins with Profile-, or name");
                    return None;
                }
            };
            Some(Credential::TrustedProfile { profile, token_file: validator.path(token_file) })
        }
        _ => {
            validator.error(
                at,
                "give either apiKey, a file with an API key, or trustedProfile, a profile that trusts the \
                controller's service account",
            );
            None
        }
    }
}

fn https(validator: &mut Validator<'_>, at: &str, item: &ManagerItem) -> Option<Https> {
    let (Some(get), Some(pointers)) = (&item.get, &item.pointers) else {
        validator.error(at, "give get, a URL with {id} in its path, and pointers to certificate and key");
        return None;
    };
    let get = request(validator, &format!("{at}.get"), item, Method::GET, get);
    let put_method = match item.put_method.unwrap_or(PutMethod::Post) {
        PutMethod::Post => Method::POST,
        PutMethod::Put => Method::PUT,
    };
    let pointers = json_pointers(validator, &format!("{at}.pointers"), pointers);
    let put_at = format!("{at}.putPointers");
    let put_pointers = match item.put_pointers.clone() {
        None => pointers.clone(),
        Some(PutPointersItem { certificate, key, chain }) => {
            json_pointers(validator, &put_at, &PointersItem { certificate, key, chain, roots: None })
        }
    };
    let put = match &item.put {
        Some(put) => {
            let request = request(validator, &format!("{at}.put"), item, put_method, put)?;
            Some(Box::new(Put { request, pointers: put_pointers }))
        }
        None if item.put_pointers.is_some() => {
            validator.error(&put_at, "there is no put, the URL to push to");
            None
        }
        None => None,
    };
    Some(Https { get: get?, pointers, put })
}

fn endpoint(validator: &mut Validator<'_>, at: &str, item: &ManagerItem, url: &str) -> Option<Endpoint> {
    validator.endpoint(at, url, item.ca.as_deref(), &item.allow_networks)
}

fn request(
    validator: &mut Validator<'_>,
    at: &str,
    item: &ManagerItem,
    method: Method,
    url: &str,
) -> Option<RequestTemplate> {
    let (before, after) = url.split_once(ID).unwrap_or((url, ""));
    let is_in_path = before.split_once("://").is_some_and(|(_, rest)| rest.contains('/'));
    if !url.contains(ID) || !is_in_path {
        validator.error(at, "the path of the URL must contain {id}, which the certificate's id replaces");
    }
    // Braces are not allowed in a URL, so the endpoint is validated with an id in their place.
    let endpoint = endpoint(validator, at, item, &format!("{before}id{after}"))?;
    let path = url.split_once("://").and_then(|(_, rest)| Some(&rest[rest.find('/')?..]));
    let headers = validator.headers(&format!("{at}.headers"), &item.headers);
    Some(RequestTemplate { endpoint, path: path.unwrap_or("/").to_owned(), method, headers })
}

fn json_pointers(validator: &mut Validator<'_>, at: &str, item: &PointersItem) -> Pointers {
    let PointersItem { certificate, key, chain, roots } = item.clone();
    for pointer in [Some(&certificate), Some(&key), chain.as_ref(), roots.as_ref()].into_iter().flatten() {
        if !pointer.starts_with('/') || pointer.len() > 512 {
            validator.error(at, format!("{pointer:?} is not a JSON pointer, such as /data/certificate"));
        }
    }
    Pointers { certificate, key, chain, roots }
}
