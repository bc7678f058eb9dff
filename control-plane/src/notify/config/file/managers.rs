//! The section `managers`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use hotcert_agent::tls::hex::sha256_hex;
use hyper::Method;
use serde::Deserialize;

use super::Validator;
use crate::external::http_client::Endpoint;
use crate::external::manager::https::{Https, ID, Pointers, Request};
use crate::external::manager::ibm::{IAM, Ibm};
use crate::external::manager::{Kind, Manager};
use crate::pki::x509_facts;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ManagerFile {
    name: String,
    kind: KindName,
    /// By namespace, or "*": the ids that its certificates may have.
    #[serde(default)]
    allow: BTreeMap<String, Vec<String>>,
    /// A file with the roots to be trusted, whatever the manager says.
    trust: Option<String>,
    /// A file with the roots of its own certificate.
    ca: Option<String>,
    #[serde(default)]
    allow_networks: Vec<String>,
    /// ibm-secrets-manager: address of the instance.
    url: Option<String>,
    /// Where a token is had.
    iam_url: Option<String>,
    /// A file with the API key.
    api_key: Option<String>,
    /// https: addresses with {id} in their paths.
    get: Option<String>,
    put: Option<String>,
    put_method: Option<Verb>,
    /// Header, and a file with its value.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    pointers: Option<PointersFile>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum KindName {
    IbmSecretsManager,
    Https,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
enum Verb {
    #[serde(rename = "POST")]
    Post,
    #[serde(rename = "PUT")]
    Put,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PointersFile {
    certificate: String,
    key: String,
    chain: Option<String>,
    roots: Option<String>,
}

impl Validator<'_> {
    pub(super) fn managers(&mut self, files: &[ManagerFile]) -> BTreeMap<String, Arc<Manager>> {
        let mut managers = BTreeMap::new();
        let mut names = BTreeSet::new();
        for (at, file) in self.each("managers", files) {
            self.name(&at, &file.name, &mut names);
            let begin = self.files.read.len();
            let allow = self.allow(&format!("{at}.allow"), &file.allow);
            let trust = file.trust.as_ref().and_then(|name| self.trust(&format!("{at}.trust"), name));
            if let Some(kind) = self.kind(&at, file) {
                let digest = sha256_hex(format!("{file:?} {:?}", &self.files.read[begin..]).as_bytes());
                managers.insert(file.name.clone(), Arc::new(Manager { kind, allow, trust, digest }));
            }
        }
        managers
    }

    fn allow<T>(&mut self, at: &str, allow: &BTreeMap<String, Vec<String>>) -> BTreeMap<String, Vec<T>>
    where
        T: std::str::FromStr<Err: fmt::Display>,
    {
        if allow.is_empty() {
            self.add(at, "name the namespaces that may have certificates of it, and which: { shop: ['*'] }");
        }
        allow.iter().map(|(namespace, ids)| (namespace.clone(), self.words(at, ids))).collect()
    }

    fn trust(&mut self, at: &str, name: &str) -> Option<String> {
        let text = self.text(at, name)?;
        if x509_facts::roots(text.as_bytes()).is_empty() {
            self.add(at, format!("there is no certificate in {name}"));
        }
        Some(format!("{}\n", text.as_str()))
    }

    /// What a kind has no use for is a mistake.
    fn kind(&mut self, at: &str, file: &ManagerFile) -> Option<Kind> {
        let is_ibm = file.kind == KindName::IbmSecretsManager;
        let of_other = if is_ibm {
            [file.get.is_some() || file.put.is_some() || file.put_method.is_some(), file.pointers.is_some()]
        } else {
            [file.url.is_some() || file.iam_url.is_some(), file.api_key.is_some()]
        };
        if of_other.contains(&true) || is_ibm && !file.headers.is_empty() {
            let said = "url, iamUrl and apiKey are for ibm-secrets-manager; get, put, putMethod, headers and pointers for https";
            self.add(at, said);
        }
        match file.kind {
            KindName::IbmSecretsManager => {
                let (Some(url), Some(key)) = (&file.url, &file.api_key) else {
                    self.add(at, "give url, the address of the instance, and apiKey, a file with an API key");
                    return None;
                };
                let endpoint = self.manager_site(&format!("{at}.url"), file, url)?;
                let iam = file.iam_url.as_deref().unwrap_or(IAM);
                let iam = self.manager_site(&format!("{at}.iamUrl"), file, iam)?;
                Some(Kind::Ibm(Ibm::new(endpoint, iam, self.text(&format!("{at}.apiKey"), key)?)))
            }
            KindName::Https => {
                let (Some(get), Some(pointers)) = (&file.get, &file.pointers) else {
                    self.add(at, "give get, an address with {id} in it, and pointers to certificate and key");
                    return None;
                };
                let get = self.request(&format!("{at}.get"), file, Method::GET, get);
                let verb = match file.put_method.unwrap_or(Verb::Post) {
                    Verb::Post => Method::POST,
                    Verb::Put => Method::PUT,
                };
                let put = match &file.put {
                    Some(put) => Some(self.request(&format!("{at}.put"), file, verb, put)?),
                    None => None,
                };
                let pointers = self.pointers(&format!("{at}.pointers"), pointers);
                Some(Kind::Https(Https { get: get?, put, pointers }))
            }
        }
    }

    fn manager_site(&mut self, at: &str, file: &ManagerFile, url: &str) -> Option<Endpoint> {
        self.endpoint(at, url, file.ca.as_deref(), &file.allow_networks)
    }

    fn request(&mut self, at: &str, file: &ManagerFile, method: Method, url: &str) -> Option<Request> {
        let (host, path) = url.split_once(ID).unwrap_or((url, ""));
        let is_in_path = host.split_once("://").is_some_and(|(_, rest)| rest.contains('/'));
        if !url.contains(ID) || !is_in_path {
            self.add(at, "the path of the address needs {id} where the certificate's id is to be");
        }
        // Braces do not belong into an address; what comes in their place does.
        let endpoint = self.manager_site(at, file, &format!("{host}id{path}"))?;
        let path = url.split_once("://").and_then(|(_, rest)| Some(&rest[rest.find('/')?..]));
        let (path, headers) =
            (path.unwrap_or("/").to_owned(), self.headers(&format!("{at}.headers"), &file.headers));
        Some(Request { endpoint, path, method, headers })
    }

    fn pointers(&mut self, at: &str, file: &PointersFile) -> Pointers {
        let PointersFile { certificate, key, chain, roots } = file.clone();
        for pointer in [Some(&certificate), Some(&key), chain.as_ref(), roots.as_ref()].into_iter().flatten()
        {
            if !pointer.starts_with('/') || pointer.len() > 512 {
                self.add(at, format!("{pointer:?} is no JSON pointer, such as /data/certificate"));
            }
        }
        Pointers { certificate, key, chain, roots }
    }
}
