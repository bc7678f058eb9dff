//! News as Kubernetes Events, which `kubectl describe` shows with the object. One that cannot be written
//! is lost: what matters stands in the status.

use std::time::SystemTime;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::Resource;
use kube::core::ObjectMeta;

use crate::resource::{CertificateAuthority, ServiceCertificate};
use crate::store::{About, News};

/// Of an object that is in no namespace, events are in this one.
const NOWHERE: &str = "default";
const CONTROLLER: &str = "hotcert.dev/controller";
/// As long as a note may be.
const LONGEST: usize = 1024;

/// The event, and the namespace that it goes into.
pub fn event(news: &News, uid: Option<String>, now: SystemTime) -> (String, Event) {
    let regarding = match &news.about {
        About::Authority(name) => reference::<CertificateAuthority>(name, None, uid),
        About::Certificate(name) => reference::<ServiceCertificate>(&name.name, Some(&name.namespace), uid),
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
        action: Some(news.reason.to_owned()),
        event_time: Some(MicroTime(at)),
        note: Some(short(&news.message).to_owned()),
        reason: Some(news.reason.to_owned()),
        regarding: Some(regarding),
        reporting_controller: Some(CONTROLLER.to_owned()),
        reporting_instance: Some(CONTROLLER.to_owned()),
        type_: Some(if news.warning { "Warning" } else { "Normal" }.to_owned()),
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
    use crate::observed::ObjectName;

    #[test]
    fn an_event_is_beside_its_object_and_not_too_long() {
        let about = About::Certificate(ObjectName::new("shop", "mtls-prod-payments"));
        let message = "ü".repeat(1000);
        let news = News { about, warning: true, reason: "Late", message };
        let (namespace, event) = event(&news, Some("u".into()), SystemTime::now());
        assert_eq!((namespace.as_str(), event.type_.as_deref()), ("shop", Some("Warning")));
        assert_eq!(event.note.unwrap().len(), 1024);
        let news = News { about: About::Authority("root-prod-shop".into()), ..news };
        assert_eq!(super::event(&news, None, SystemTime::now()).0, "default");
    }
}
