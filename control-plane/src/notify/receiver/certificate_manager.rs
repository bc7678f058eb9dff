//! Callbacks of IBM Certificate Manager: `{"data": JWT}`, signed with RS256 by the key of one instance; payload
//! versions 1 to 4. A payload has neither an id nor a time: a replay is recognised by its content, and an old message
//! by the certificates it names.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, Validation, decode};
use serde::Deserialize;
use serde_json::Value;

use super::message::Message;
use super::rejection::Rejection;
use crate::api::date;
use crate::digest::sha256_hex;
use crate::notify::incoming_event::{IncomingEvent, IncomingKind, RemoteCertificate, sanitize};
use crate::notify::verification_keys::VerificationKeys;
use crate::planner::renewal_hint::RenewalHint;

#[derive(Deserialize)]
struct Envelope {
    data: String,
}

#[derive(Deserialize)]
struct Payload {
    instance_crn: String,
    /// Since version 2.
    event_type: Option<String>,
    /// Version 1 only.
    #[serde(default)]
    expiring_certificates: Vec<Certificate>,
    #[serde(default)]
    certificates: Vec<Certificate>,
}

#[derive(Deserialize)]
struct Certificate {
    cert_crn: Option<String>,
    name: Option<String>,
    /// Since version 3: milliseconds, or a date.
    expires_on: Option<Value>,
}

/// Certificates in one message.
const MAX_CERTIFICATES: usize = 1000;

/// The instance it comes from, and the event.
pub async fn read(
    keys: &VerificationKeys,
    message: &Message<'_>,
) -> Result<(String, IncomingEvent), Rejection> {
    let envelope: Envelope =
        serde_json::from_slice(message.body).map_err(|error| Rejection::Malformed(error.to_string()))?;
    let token = envelope.data.as_str();
    let payload = match verify(&keys.current().await.map_err(Rejection::NoKeys)?, token) {
        Ok(payload) => payload,
        // The token may have been signed with a key that is newer than the cached ones.
        Err(rejection) => match keys.refetch().await {
            Ok(Some(newer)) => verify(&newer, token)?,
            _ => return Err(rejection),
        },
    };
    let id = sha256_hex(payload.to_string().as_bytes());
    let payload: Payload =
        serde_json::from_value(payload).map_err(|error| Rejection::Malformed(error.to_string()))?;
    let kind = match payload.event_type.as_deref() {
        None => IncomingKind::Expiring,
        Some(event) => kind(event),
    };
    let name = sanitize(payload.event_type.as_deref().unwrap_or_default());
    let certificates: Vec<_> =
        payload.certificates.into_iter().chain(payload.expiring_certificates).collect();
    if certificates.len() > MAX_CERTIFICATES {
        return Err(Rejection::Malformed(format!(
            "the message is about more than {MAX_CERTIFICATES} certificates"
        )));
    }
    let certificates = certificates.into_iter().map(Certificate::remote).collect::<Result<_, _>>()?;
    Ok((payload.instance_crn, IncomingEvent { id, kind, name, certificates }))
}

/// With one algorithm, whatever the token claims.
fn verify(keys: &[jsonwebtoken::DecodingKey], token: &str) -> Result<Value, Rejection> {
    let mut validation = Validation::new(Algorithm::RS256);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    let mut rejection = Rejection::Token("the sender has no key".into());
    for key in keys {
        match decode::<Value>(token, key, &validation) {
            Ok(decoded) => return Ok(decoded.claims),
            Err(error) => rejection = Rejection::Token(error.to_string()),
        }
    }
    Err(rejection)
}

fn kind(event: &str) -> IncomingKind {
    match event {
        "cert_about_to_expire_reimport_required"
        | "cert_about_to_expire_renew_required"
        | "cert_expired_reimport_required"
        | "cert_expired_renew_required" => IncomingKind::Expiring,
        "cert_reimported" | "cert_issued" | "cert_renewed" => IncomingKind::Changed,
        "cert_order_failed" | "cert_renew_failed" => IncomingKind::Failed,
        "test_notification_channel" => IncomingKind::Test,
        _ => IncomingKind::Unknown,
    }
}

impl Certificate {
    fn remote(self) -> Result<RemoteCertificate, Rejection> {
        let until = self.expires_on.as_ref().map(parse_time).transpose()?;
        let names = self.cert_crn.into_iter().chain(self.name).collect();
        Ok(RemoteCertificate { names, hint: RenewalHint::new(until, None), cause: None })
    }
}

/// Milliseconds since 1970, as a number or as digits, or an ISO 8601 date.
pub fn parse_time(value: &Value) -> Result<SystemTime, Rejection> {
    let millis = match value {
        Value::Number(number) => number.as_u64().or_else(|| number.as_f64().map(|number| number as u64)),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    let from_text = || value.as_str().and_then(date::parse);
    let from_millis = |millis| UNIX_EPOCH.checked_add(Duration::from_millis(millis));
    millis
        .and_then(from_millis)
        .or_else(from_text)
        .ok_or_else(|| Rejection::Malformed(format!("{} is not a date", sanitize(&value.to_string()))))
}
