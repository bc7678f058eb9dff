//! IBM Certificate Manager's callback: `{"data": JWT}`, signed with RS256 by the key of one instance. There
//! is neither an id nor a time in it, so a message is known again by what it says, and an old one by the
//! certificates that it speaks of. Payloads of version 1 to 4.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hotcert_agent::tls::hex::sha256_hex;
use jsonwebtoken::{Algorithm, Validation, decode};
use serde::Deserialize;
use serde_json::Value;

use super::keys::Keys;
use super::{Message, Refusal};
use crate::api::date;
use crate::notify::receiver::incoming_event::{Remote, Said, What, shown};
use crate::planner::renewal_hint::RenewalHint;

#[derive(Deserialize)]
struct Envelope {
    data: String,
}

#[derive(Deserialize)]
struct Payload {
    instance_crn: String,
    /// From version 2 on.
    event_type: Option<String>,
    /// Version 1.
    #[serde(default)]
    expiring_certificates: Vec<Certificate>,
    #[serde(default)]
    certificates: Vec<Certificate>,
}

#[derive(Deserialize)]
struct Certificate {
    cert_crn: Option<String>,
    name: Option<String>,
    /// From version 3 on: milliseconds, or a date.
    expires_on: Option<Value>,
}

/// A message is about no more than this.
const MOST: usize = 1000;

/// The instance that it is of, and what it says.
pub async fn read(keys: &Keys, message: &Message<'_>) -> Result<(String, Said), Refusal> {
    let envelope: Envelope =
        serde_json::from_slice(message.body).map_err(|error| Refusal::Malformed(error.to_string()))?;
    let token = envelope.data.as_str();
    let payload = match verify(&keys.known().await.map_err(Refusal::NoKeys)?, token) {
        Ok(payload) => payload,
        // It may have been signed by a key that is newer than what is known here.
        Err(refusal) => match keys.renewed().await {
            Ok(Some(newer)) => verify(&newer, token)?,
            _ => return Err(refusal),
        },
    };
    let id = sha256_hex(payload.to_string().as_bytes());
    let payload: Payload =
        serde_json::from_value(payload).map_err(|error| Refusal::Malformed(error.to_string()))?;
    let what = match payload.event_type.as_deref() {
        None => What::Expiring,
        Some(event) => what(event)?,
    };
    let certificates: Vec<_> =
        payload.certificates.into_iter().chain(payload.expiring_certificates).collect();
    if certificates.len() > MOST {
        return Err(Refusal::Malformed(format!("it is about more than {MOST} certificates")));
    }
    let about = certificates.into_iter().map(Certificate::remote).collect::<Result<_, _>>()?;
    Ok((payload.instance_crn, Said { id, what, about }))
}

/// By one algorithm, whatever the token says of itself.
fn verify(keys: &[jsonwebtoken::DecodingKey], token: &str) -> Result<Value, Refusal> {
    let mut validation = Validation::new(Algorithm::RS256);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    let mut refused = Refusal::Token("there is no key".into());
    for key in keys {
        match decode::<Value>(token, key, &validation) {
            Ok(decoded) => return Ok(decoded.claims),
            Err(error) => refused = Refusal::Token(error.to_string()),
        }
    }
    Err(refused)
}

fn what(event: &str) -> Result<What, Refusal> {
    Ok(match event {
        "cert_about_to_expire_reimport_required"
        | "cert_about_to_expire_renew_required"
        | "cert_expired_reimport_required"
        | "cert_expired_renew_required" => What::Expiring,
        "cert_reimported" | "cert_issued" | "cert_renewed" => What::Changed,
        "cert_order_failed" | "cert_renew_failed" => What::Other,
        "test_notification_channel" => What::Test,
        other => return Err(Refusal::UnknownEvent(shown(other))),
    })
}

impl Certificate {
    fn remote(self) -> Result<Remote, Refusal> {
        let until = self.expires_on.as_ref().map(moment).transpose()?;
        let names = self.cert_crn.into_iter().chain(self.name).collect();
        Ok(Remote { names, notice: RenewalHint::new(until, None) })
    }
}

/// Milliseconds since 1970, as a number or in digits, or a date as ISO 8601 has it.
pub fn moment(value: &Value) -> Result<SystemTime, Refusal> {
    let millis = match value {
        Value::Number(number) => number.as_u64().or_else(|| number.as_f64().map(|number| number as u64)),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    let of_text = || value.as_str().and_then(date::parse);
    let of_millis = |millis| UNIX_EPOCH.checked_add(Duration::from_millis(millis));
    millis
        .and_then(of_millis)
        .or_else(of_text)
        .ok_or_else(|| Refusal::Malformed(format!("{} is no date", shown(&value.to_string()))))
}
