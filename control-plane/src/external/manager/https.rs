//! Any manager that answers JSON over HTTPS: an address to get a certificate from and one to bring it to, and
//! where in the JSON its parts are.

use std::fmt;

use hyper::Method;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{
    MAX_ANSWER, ManagerError, Version, WITHIN, Wiped, accepted, parted, place, tidy, tidy_key, wiped,
};
use crate::external::http_client::{Endpoint, HttpRequest, HttpResponse};
use crate::notify::config::Headers;

/// In the path of an address, what the certificate's id is put for.
pub const ID: &str = "{id}";

pub struct Https {
    pub get: Request,
    /// `None`: nothing is brought there.
    pub put: Option<Request>,
    pub pointers: Pointers,
}

pub struct Request {
    pub endpoint: Endpoint,
    /// With [`ID`] in it.
    pub path: String,
    pub method: Method,
    pub headers: Headers,
}

/// Where in the answer each part is, PEM. The same places are used to bring a new version.
#[derive(Clone, Debug)]
pub struct Pointers {
    pub certificate: String,
    pub key: String,
    /// Intermediates, if they are not with the certificate.
    pub chain: Option<String>,
    /// Roots to be trusted, if they come from there as well.
    pub roots: Option<String>,
}

impl Https {
    pub async fn fetch(&self, id: &str) -> Result<Version, ManagerError> {
        let value = self.value(id).await?;
        let text = |pointer: &str| value.text(pointer);
        let needed = |pointer: &str| {
            let cause = format!("there is no text at {pointer}");
            text(pointer)
                .ok_or_else(|| ManagerError::Malformed { endpoint: self.get.endpoint.shown(), cause })
        };
        let Pointers { certificate, key, chain, roots } = &self.pointers;
        let key = Zeroizing::new(needed(key)?);
        let mut certificate = tidy(&needed(certificate)?);
        if let Some(chain) = chain.as_deref().and_then(text) {
            certificate.push_str(&tidy(&chain));
        }
        let roots = roots.as_deref().and_then(text).map(|roots| tidy(&roots));
        Ok(Version { certificate, key: tidy_key(&key), roots })
    }

    pub async fn certificate(&self, id: &str) -> Result<Option<String>, ManagerError> {
        Ok(self.value(id).await?.text(&self.pointers.certificate))
    }

    async fn value(&self, id: &str) -> Result<Wiped, ManagerError> {
        let answer = self.get.send(id, Zeroizing::default()).await?;
        let value = serde_json::from_slice(&answer.body);
        value.map(Wiped).map_err(|error| ManagerError::Malformed {
            endpoint: self.get.endpoint.shown(),
            cause: place(&error),
        })
    }

    pub async fn push(&self, id: &str, version: &Version) -> Result<(), ManagerError> {
        let put = self.put.as_ref().ok_or(ManagerError::NoWayIn)?;
        let Pointers { certificate, key, chain, .. } = &self.pointers;
        let mut body = json!({});
        let (leaf, rest) = parted(&version.certificate);
        match chain {
            Some(chain) => {
                place_at(&mut body, certificate, leaf);
                place_at(&mut body, chain, rest);
            }
            None => place_at(&mut body, certificate, &version.certificate),
        }
        place_at(&mut body, key, &version.key);
        put.send(id, wiped(body)).await.map(drop)
    }
}

impl Request {
    async fn send(&self, id: &str, body: Zeroizing<Vec<u8>>) -> Result<HttpResponse, ManagerError> {
        let mut call = HttpRequest::new(self.method.clone()).at(self.path.replace(ID, id));
        call = call.header("accept", "application/json")?.header("content-type", "application/json")?;
        for (name, value) in &self.headers {
            call = call.header(name, value)?;
        }
        accepted(&self.endpoint, self.endpoint.send(call.body(body), WITHIN, MAX_ANSWER).await?)
    }
}

/// Makes the objects that the pointer names.
fn place_at(body: &mut Value, pointer: &str, text: &str) {
    let mut at = body;
    for part in pointer.split('/').skip(1) {
        let part = part.replace("~1", "/").replace("~0", "~");
        if !at.is_object() {
            *at = json!({});
        }
        at = &mut at[part];
    }
    *at = text.into();
}

impl fmt::Debug for Https {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Https").field("get", &self.get.endpoint).finish_non_exhaustive()
    }
}
