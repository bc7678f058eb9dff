//! The registration of Secrets Manager with Event Notifications, which makes it a source there.

use anyhow::Result;
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::request::CloudRequest;
use super::{Reply, State, missing, no_content, problem, unsupported};

#[derive(Serialize, Deserialize)]
pub struct Registration {
    /// CRN of the Event Notifications instance.
    pub target: String,
    /// CRN of the Secrets Manager instance.
    pub source: String,
    pub name: String,
    pub description: String,
}

impl State {
    pub fn registration(&mut self, request: &CloudRequest<'_>, source: &str) -> Result<Reply> {
        let registered = self.registration.as_ref().map(|registration| registration.target.clone());
        let answer = |target: &str| json!({"event_notifications_instance_crn": target});
        Ok(match (request.method.as_str(), &request.path[4..], registered) {
            ("GET", [], Some(target)) => (StatusCode::OK, answer(&target)),
            ("GET", ["test"], Some(_)) => no_content(),
            ("DELETE", [], Some(_)) => {
                self.registration = None;
                no_content()
            }
            ("POST", [], None) => self.register(&request.fields()?, source),
            ("POST", [], Some(_)) => problem(StatusCode::CONFLICT, "the instance is registered already"),
            ("GET" | "DELETE", _, None) => problem(StatusCode::NOT_FOUND, "the instance is not registered"),
            _ => unsupported(),
        })
    }

    fn register(&mut self, body: &Value, source: &str) -> Reply {
        let required = ["event_notifications_instance_crn", "event_notifications_source_name"];
        if let Some(field) = missing(body, &required) {
            return problem(StatusCode::BAD_REQUEST, format!("{field} is required"));
        }
        let text = |field: &str| body[field].as_str().unwrap_or_default().to_owned();
        let target = text("event_notifications_instance_crn");
        if !self.instances.iter().any(|instance| instance.crn == target && instance.is_active()) {
            return problem(
                StatusCode::BAD_REQUEST,
                "there is no such Event Notifications instance that is active",
            );
        }
        if !self.is_authorized(source, &target) {
            return problem(
                StatusCode::FORBIDDEN,
                "Secrets Manager is not authorized for Event Notifications",
            );
        }
        self.registration = Some(Registration {
            target: target.clone(),
            source: source.to_owned(),
            name: text("event_notifications_source_name"),
            description: text("event_notifications_source_description"),
        });
        (StatusCode::CREATED, json!({"event_notifications_instance_crn": target}))
    }
}
