//! A request as the emulated APIs read it.

use hyper::Method;
use serde_json::{Map, Value};

use super::multipart;

pub struct CloudRequest<'r> {
    pub method: &'r Method,
    /// Decoded segments.
    pub path: Vec<&'r str>,
    pub query: Vec<(String, String)>,
    pub content_type: &'r str,
    pub body: &'r [u8],
}

impl CloudRequest<'_> {
    pub fn param(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub fn number(&self, name: &str, default: usize) -> usize {
        self.param(name).and_then(|text| text.parse().ok()).unwrap_or(default)
    }

    /// Whatever its format; `null` if it has none.
    pub fn fields(&self) -> anyhow::Result<Value> {
        if self.body.is_empty() {
            return Ok(Value::Null);
        }
        if let Some(boundary) = self.content_type.strip_prefix("multipart/form-data; boundary=") {
            return multipart::fields(self.body, boundary.trim_matches('"'));
        }
        if self.content_type.starts_with("application/x-www-form-urlencoded") {
            let fields = form_urlencoded::parse(self.body);
            let fields = fields.map(|(name, value)| (name.into_owned(), Value::from(value.into_owned())));
            return Ok(Value::Object(fields.collect::<Map<_, _>>()));
        }
        Ok(serde_json::from_slice(self.body)?)
    }
}

/// The segments of a path, decoded.
pub fn segments(path: &str) -> Vec<String> {
    path.trim_start_matches('/').split('/').map(decode).collect()
}

fn decode(segment: &str) -> String {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let escaped = tail.get(..2).filter(|_| *first == b'%').and_then(|digits| hex::decode(digits).ok());
        match escaped {
            Some(decoded) => {
                bytes.extend(decoded);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
