//! Events of IBM Secrets Manager as Event Notifications delivers them: CloudEvents in JSON that nobody
//! signed. So who sends them is known by a header that is a secret, or by the client's certificate.

use serde::Deserialize;
use serde_json::Value;

use super::certificate_manager::moment;
use super::{Message, Refusal};
use crate::notify::receiver::incoming_event::{Remote, Said, What, shown};
use crate::planner::renewal_hint::RenewalHint;

const TYPE: &str = "com.ibm.cloud.secrets-manager.";
/// As many as the sender puts into one.
const MOST: usize = 100;

#[derive(Deserialize)]
struct Event {
    id: String,
    source: String,
    r#type: String,
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    event_type: Option<String>,
    source_instance_crn: Option<String>,
    #[serde(default)]
    secrets: Vec<Secret>,
}

#[derive(Deserialize)]
struct Secret {
    secret_id: Option<String>,
    secret_name: Option<String>,
    secret_expiration: Option<Value>,
    serial_number: Option<String>,
}

/// The instance that it is of, and what it says.
pub fn read(message: &Message<'_>) -> Result<(String, Said), Refusal> {
    let event: Event =
        serde_json::from_slice(message.body).map_err(|error| Refusal::Malformed(error.to_string()))?;
    let named = event.data.event_type.as_deref().unwrap_or(&event.r#type);
    // NAME:SUBTYPE, and NAME with what it begins with or without.
    let name = named.split(':').next().unwrap_or_default();
    let what = match name.strip_prefix(TYPE).unwrap_or(name) {
        "secret_about_to_expire" | "secret_expired" => What::Expiring,
        "secret_revoked" => What::Revoked,
        "secret_rotated" | "secret_created" => What::Changed,
        "secret_rotation_failed" | "secret_deleted" => What::Other,
        "test_event" => What::Test,
        _ => return Err(Refusal::UnknownEvent(shown(named))),
    };
    if event.data.secrets.len() > MOST {
        return Err(Refusal::Malformed(format!("it is about more than {MOST} secrets")));
    }
    let about = event.data.secrets.into_iter().map(Secret::remote).collect::<Result<_, _>>()?;
    let instance = event.data.source_instance_crn.unwrap_or_else(|| event.source.clone());
    if instance != event.source && event.source.starts_with("crn:") {
        return Err(Refusal::Malformed("source and data.source_instance_crn are not the same".into()));
    }
    Ok((instance, Said { id: format!("{} {}", event.source, event.id), what, about }))
}

impl Secret {
    fn remote(self) -> Result<Remote, Refusal> {
        let until =
            self.secret_expiration.as_ref().filter(|value| !value.is_null()).map(moment).transpose()?;
        let names = self.secret_id.into_iter().chain(self.secret_name).collect();
        Ok(Remote { names, notice: RenewalHint::new(until, self.serial_number.as_deref()) })
    }
}
