//! One request to an API of IBM Cloud: what is sent, and how it is shown with its secrets masked.

use std::fmt::Write as _;

use aws_lc_rs::rand;
use hyper::Method;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::external::manager::json::SecretJson;

const MASK: &str = "****";

/// Each has an address of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    Iam,
    ResourceController,
    GlobalCatalog,
    GlobalTagging,
    SecretsManager,
    EventNotifications,
}

pub struct ApiRequest {
    pub service: Service,
    pub method: Method,
    /// Below the address of the service; its variable segments are percent-encoded.
    pub path: String,
    pub query: Vec<(&'static str, String)>,
    pub body: Body,
    /// JSON pointers into the body, or into the JSON of a part, and names of fields of a form.
    pub secrets: Vec<String>,
}

pub enum Body {
    Empty,
    Json(SecretJson),
    Form(Vec<(&'static str, Zeroizing<String>)>),
    Multipart(Vec<(&'static str, Part)>),
}

pub enum Part {
    Text(String),
    Json(SecretJson),
}

impl Service {
    pub fn name(self) -> &'static str {
        match self {
            Self::Iam => "IAM",
            Self::ResourceController => "the Resource Controller",
            Self::GlobalCatalog => "the Global Catalog",
            Self::GlobalTagging => "Global Tagging",
            Self::SecretsManager => "Secrets Manager",
            Self::EventNotifications => "Event Notifications",
        }
    }
}

impl ApiRequest {
    pub fn new(service: Service, method: Method, path: impl Into<String>) -> Self {
        Self { service, method, path: path.into(), query: Vec::new(), body: Body::Empty, secrets: Vec::new() }
    }

    pub fn get(service: Service, path: impl Into<String>) -> Self {
        Self::new(service, Method::GET, path)
    }

    pub fn post(service: Service, path: impl Into<String>, body: Value) -> Self {
        Self { body: Body::Json(SecretJson(body)), ..Self::new(service, Method::POST, path) }
    }

    pub fn delete(service: Service, path: impl Into<String>) -> Self {
        Self::new(service, Method::DELETE, path)
    }

    #[must_use]
    pub fn query(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    #[must_use]
    pub fn secret(mut self, pointer: impl Into<String>) -> Self {
        self.secrets.push(pointer.into());
        self
    }

    /// Path and query, below `base`, the path of the service's address.
    pub fn target(&self, base: &str) -> String {
        let path = format!("{}{}", base.trim_end_matches('/'), self.path);
        if self.query.is_empty() {
            return path;
        }
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, value) in &self.query {
            query.append_pair(name, value);
        }
        format!("{path}?{}", query.finish())
    }

    /// Content type and bytes.
    pub fn encode(&self) -> Option<(String, Zeroizing<Vec<u8>>)> {
        match &self.body {
            Body::Empty => None,
            Body::Json(json) => Some(("application/json".into(), json.to_bytes())),
            Body::Form(fields) => {
                // Enough capacity that no copy of a secret is left behind.
                let capacity = fields.iter().map(|(name, value)| name.len() + 3 * value.len() + 2).sum();
                let mut form = form_urlencoded::Serializer::new(String::with_capacity(capacity));
                for (name, value) in fields {
                    form.append_pair(name, value);
                }
                let bytes = Zeroizing::new(form.finish().into_bytes());
                Some(("application/x-www-form-urlencoded".into(), bytes))
            }
            Body::Multipart(parts) => {
                let boundary = boundary();
                let bytes = multipart(parts, &boundary);
                Some((format!("multipart/form-data; boundary={boundary}"), bytes))
            }
        }
    }

    /// Method, URL and body on several lines, with secrets masked. `base`: the address of the service.
    pub fn describe(&self, base: &str) -> String {
        // Braces stand for what is not known.
        let target = self.target(base).replace("%7B", "{").replace("%7D", "}");
        let mut text = format!("{} {target}", self.method);
        match &self.body {
            Body::Empty => {}
            Body::Json(json) => indent(&mut text, &self.masked(&json.0)),
            Body::Form(fields) => {
                for (name, value) in fields {
                    let is_secret = self.secrets.iter().any(|secret| secret == name);
                    indent(&mut text, &format!("{name}={}", if is_secret { MASK } else { value.as_str() }));
                }
            }
            Body::Multipart(parts) => {
                for (name, part) in parts {
                    let value = match part {
                        Part::Text(value) => value.clone(),
                        Part::Json(json) => self.masked(&json.0),
                    };
                    indent(&mut text, &format!("{name}={value}"));
                }
            }
        }
        text
    }

    fn masked(&self, json: &Value) -> String {
        let mut copy = SecretJson(json.clone());
        for pointer in &self.secrets {
            if let Some(value) = copy.0.pointer_mut(pointer) {
                drop(SecretJson(std::mem::replace(value, MASK.into())));
            }
        }
        format!("{:#}", copy.0)
    }
}

fn indent(text: &mut String, lines: &str) {
    for line in lines.lines() {
        let _ = write!(text, "\n    {line}");
    }
}

fn boundary() -> String {
    let mut random = [0; 16];
    // Without randomness it is still a boundary: the parts are ours, and none has this line.
    let _ = rand::fill(&mut random);
    format!("hotcert-{}", hex::encode(random))
}

fn multipart(parts: &[(&'static str, Part)], boundary: &str) -> Zeroizing<Vec<u8>> {
    let encoded: Vec<_> = parts
        .iter()
        .map(|(name, part)| match part {
            Part::Text(text) => (name, "text/plain", Zeroizing::new(text.clone().into_bytes())),
            Part::Json(json) => (name, "application/json", json.to_bytes()),
        })
        .collect();
    let capacity = encoded.iter().map(|(name, _, bytes)| name.len() + bytes.len() + 200).sum::<usize>();
    let mut body = Zeroizing::new(Vec::with_capacity(capacity + 100));
    for (name, content_type, bytes) in encoded {
        let head = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\nContent-Type: {content_type}\r\n\r\n"
        );
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(&bytes);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    body
}

/// One segment of a path.
pub(super) fn segment(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}
