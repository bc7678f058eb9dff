//! Events as Kubernetes has them, which `kubectl describe` shows with the object. One that cannot be written
//! is lost: what matters stands in the status. They are of the old form: of the new one, an API server
//! of 1.20 takes none in `default` about what is in no namespace.

use std::time::SystemTime;

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::Resource;
use kube::core::ObjectMeta;

use crate::api::resource::{CertificateAuthority, ServiceCertificate};
use crate::store::{EventRecord, ObjectRef};

/// Of an object that is in no namespace, events are in this one.
const NOWHERE: &str = "default";
const CONTROLLER: &str = "hotcert-controller";
/// As long as a message is anywhere.
const LONGEST: usize = 1024;

/// The event, and the namespace that it goes into.
pub fn event(record: &EventRecord, uid: Option<String>, now: SystemTime) -> (String, Event) {
    let regarding = match &record.object {
        ObjectRef::Authority(name) => reference::<CertificateAuthority>(name, None, uid),
        ObjectRef::Certificate(name) => {
            reference::<ServiceCertificate>(&name.name, Some(&name.namespace), uid)
        }
    };
    let namespace = regarding.namespace.clone().unwrap_or_else(|| NOWHERE.to_owned());
    let at = Timestamp::try_from(now).unwrap_or(Timestamp::UNIX_EPOCH);
    let of: String = regarding.name.iter().flat_map(|name| name.chars()).take(200).collect();
    let event = Event {
        metadata: ObjectMeta {
            name: Some(format!("{of}.{:x}", at.as_nanosecond())),
            namespace: Some(namespace.clone()),
            ..Default::default()
        },
        count: Some(1),
        first_timestamp: Some(Time(at)),
        last_timestamp: Some(Time(at)),
        message: Some(short(&record.message).to_owned()),
        reason: Some(record.reason.as_str().to_owned()),
        involved_object: regarding,
        source: Some(EventSource { component: Some(CONTROLLER.to_owned()), ..Default::default() }),
        type_: Some(if record.warning { "Warning" } else { "Normal" }.to_owned()),
        ..Default::default()
    };
    (namespace, event)
}

fn reference<K: Resource<DynamicType = ()>>(
    name: &str,
    namespace: Option<&str>,
    uid: Option<String>,
) -> ObjectReference {
    ObjectReference {
        api_version: Some(K::api_version(&()).into_owned()),
        kind: Some(K::kind(&()).into_owned()),
        name: Some(name.to_owned()),
        namespace: namespace.map(str::to_owned),
        uid,
        ..Default::default()
    }
}

fn short(text: &str) -> &str {
    let end = (0..=LONGEST.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::condition::EventReason;
    use crate::api::object_name::ObjectName;

    #[test]
    fn an_event_is_beside_its_object_and_not_too_long() {
        let object = ObjectRef::Certificate(ObjectName::new("shop", "mtls-prod-payments"));
        let message = "ü".repeat(1000);
        let record = EventRecord { object, warning: true, reason: EventReason::NotServed, message };
        let (namespace, event) = event(&record, Some("u".into()), SystemTime::now());
        assert_eq!((namespace.as_str(), event.type_.as_deref()), ("shop", Some("Warning")));
        assert_eq!(event.message.unwrap().len(), 1024);
        let record = EventRecord { object: ObjectRef::Authority("root-prod-shop".into()), ..record };
        assert_eq!(super::event(&record, None, SystemTime::now()).0, "default");
    }
}
