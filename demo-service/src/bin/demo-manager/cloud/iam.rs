//! IAM's policies that authorize one service for another.

use anyhow::Result;
use hyper::StatusCode;
use serde_json::{Value, json};

use super::request::CloudRequest;
use super::{Reply, State, missing, no_content, now, problem, unsupported};

const ROLE: &str = "crn:v1:bluemix:public:event-notifications::::serviceRole:Event-Source-Manager";

/// Of the attributes of a subject or a resource.
fn value<'p>(party: &'p Value, name: &str) -> Option<&'p str> {
    let mut attributes = party["attributes"].as_array()?.iter();
    attributes.find(|attribute| attribute["name"] == name)?["value"].as_str()
}

impl State {
    pub fn policies(&mut self, request: &CloudRequest<'_>) -> Result<Reply> {
        Ok(match (request.method.as_str(), request.path.as_slice()) {
            ("GET", [_, _]) => {
                if request.param("account_id").is_none() {
                    return Ok(problem(StatusCode::BAD_REQUEST, "account_id is required"));
                }
                let is_meant =
                    |policy: &&Value| request.param("type").is_none_or(|kind| policy["type"] == kind);
                let found: Vec<_> = self.policies.iter().filter(is_meant).collect();
                (StatusCode::OK, json!({"policies": found}))
            }
            ("POST", [_, _]) => self.create_policy(request.fields()?),
            ("DELETE", [_, _, id]) => {
                let before = self.policies.len();
                self.policies.retain(|policy| policy["id"] != *id);
                match self.policies.len() < before {
                    true => no_content(),
                    false => problem(StatusCode::NOT_FOUND, "the policy was not found"),
                }
            }
            _ => unsupported(),
        })
    }

    fn create_policy(&mut self, mut body: Value) -> Reply {
        if let Some(field) = missing(&body, &["type", "subjects", "roles", "resources"]) {
            return problem(StatusCode::BAD_REQUEST, format!("{field} is required"));
        }
        if body["type"] != "authorization" {
            return problem(StatusCode::BAD_REQUEST, "only authorizations are emulated");
        }
        let (subject, resource) = (&body["subjects"][0], &body["resources"][0]);
        if value(subject, "accountId").is_none() || value(resource, "accountId").is_none() {
            return problem(StatusCode::BAD_REQUEST, "subject and resource need accountId");
        }
        if value(subject, "serviceName").is_none() && value(subject, "resourceGroupId").is_none() {
            return problem(StatusCode::BAD_REQUEST, "the subject needs serviceName or resourceGroupId");
        }
        if body["roles"][0]["role_id"] != ROLE {
            return problem(StatusCode::BAD_REQUEST, "the role does not exist");
        }
        let is_same = |policy: &Value| {
            ["subjects", "resources", "roles"].iter().all(|field| policy[*field] == body[*field])
        };
        if self.policies.iter().any(is_same) {
            return problem(StatusCode::CONFLICT, "a policy with these attributes exists already");
        }
        body["id"] = self.id("policy").into();
        body["state"] = "active".into();
        body["created_at"] = now().into();
        self.policies.push(body.clone());
        (StatusCode::CREATED, body)
    }

    /// Whether the instance of Secrets Manager may be a source of that of Event Notifications.
    pub fn is_authorized(&self, source: &str, target: &str) -> bool {
        let of = |party: &Value, crn: &str| {
            let mut parts = crn.split(':').skip(4);
            let (service, instance) = (parts.next(), parts.nth(2));
            value(party, "serviceName") == service
                && value(party, "serviceInstance").is_none_or(|guid| Some(guid) == instance)
        };
        self.policies
            .iter()
            .any(|policy| of(&policy["subjects"][0], source) && of(&policy["resources"][0], target))
    }
}
