//! The Resource Controller with the Resource Manager's groups, the plans of the Global Catalog, and the tags of
//! instances.

use anyhow::Result;
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::request::CloudRequest;
use super::{Reply, State, missing, no_content, now, problem, unsupported, uuid};

const SERVICES: [&str; 2] = ["secrets-manager", "event-notifications"];
const PLANS: [(&str, &str); 4] = [
    ("secrets-manager", "trial"),
    ("secrets-manager", "standard"),
    ("event-notifications", "lite"),
    ("event-notifications", "standard"),
];
const GROUP: &str = "0123456789abcdef0123456789abcdef";
/// How often an instance is asked for until it is active.
const ASKED_UNTIL_ACTIVE: u32 = 2;

#[derive(Clone, Serialize, Deserialize)]
pub struct Instance {
    pub name: String,
    pub crn: String,
    pub guid: String,
    region: String,
    plan: String,
    tags: Vec<String>,
    asked: u32,
    created_at: String,
}

impl Instance {
    pub fn is_active(&self) -> bool {
        self.asked >= ASKED_UNTIL_ACTIVE
    }

    fn json(&self) -> Value {
        let is_active = self.is_active();
        let operation = if is_active { "succeeded" } else { "in progress" };
        json!({
            "id": self.crn,
            "crn": self.crn,
            "guid": self.guid,
            "name": self.name,
            "region_id": self.region,
            "resource_plan_id": self.plan,
            "resource_group_id": GROUP,
            "type": "service_instance",
            "state": if is_active { "active" } else { "provisioning" },
            "created_at": self.created_at,
            "last_operation": {
                "type": "create", "state": operation, "async": true, "description": operation,
                "cancelable": false, "poll": !is_active,
            },
        })
    }
}

fn account(crn: &str) -> &str {
    crn.split(':').nth(6).and_then(|scope| scope.strip_prefix("a/")).unwrap_or("demo")
}

fn plan_id(service: &str, plan: &str) -> String {
    uuid(&format!("plan {plan} of {service}"))
}

/// As the Resource Controller answers it.
fn refusal(status: StatusCode, message: &str) -> Reply {
    (status, json!({"error_code": "RC-DEMO", "message": message, "status_code": status.as_u16()}))
}

/// `path`: below `/api/v1`.
pub fn catalog(request: &CloudRequest<'_>, path: &[&str]) -> Reply {
    if request.method != hyper::Method::GET {
        return unsupported();
    }
    let resources: Vec<Value> = match path {
        [] | [""] => SERVICES
            .iter()
            .filter(|service| request.param("q").is_none_or(|q| service.contains(q)))
            .map(|service| json!({"id": uuid(service), "name": service, "kind": "service"}))
            .collect(),
        [id, "plan"] => PLANS
            .iter()
            .filter(|(service, _)| uuid(service) == *id)
            .map(|(service, plan)| json!({"id": plan_id(service, plan), "name": plan, "kind": "plan"}))
            .collect(),
        _ => return problem(StatusCode::NOT_FOUND, "unknown path"),
    };
    (
        StatusCode::OK,
        json!({"count": resources.len(), "resource_count": resources.len(), "resources": resources}),
    )
}

impl State {
    /// `own`: CRN of the Secrets Manager instance that is emulated, which the first one that is made gets.
    pub fn instances(&mut self, request: &CloudRequest<'_>, own: &str) -> Result<Reply> {
        Ok(match (request.method.as_str(), request.path.as_slice()) {
            ("GET", [_, "resource_groups"]) => {
                let group =
                    json!({"id": GROUP, "name": "Default", "default": true, "account_id": account(own)});
                let is_meant = request.param("name").is_none_or(|name| name == "Default");
                let resources: Vec<_> = Some(group).filter(|_| is_meant).into_iter().collect();
                (StatusCode::OK, json!({"resources": resources}))
            }
            ("GET", [_, _]) => {
                let wanted =
                    |instance: &&Instance| request.param("name").is_none_or(|name| name == instance.name);
                let found: Vec<_> = self.instances.iter().filter(wanted).map(Instance::json).collect();
                (StatusCode::OK, json!({"rows_count": found.len(), "next_url": null, "resources": found}))
            }
            ("POST", [_, _]) => self.create_instance(&request.fields()?, own),
            (_, [_, _, id]) => {
                let is_meant = |instance: &Instance| instance.guid == *id || instance.crn == *id;
                let Some(at) = self.instances.iter().position(is_meant) else {
                    return Ok(refusal(StatusCode::NOT_FOUND, "the instance was not found"));
                };
                match request.method.as_str() {
                    "GET" => {
                        self.instances[at].asked += 1;
                        (StatusCode::OK, self.instances[at].json())
                    }
                    "DELETE" => {
                        let removed = self.instances.remove(at);
                        self.forget(&removed);
                        no_content()
                    }
                    _ => unsupported(),
                }
            }
            _ => unsupported(),
        })
    }

    fn create_instance(&mut self, body: &Value, own: &str) -> Reply {
        if let Some(field) = missing(body, &["name", "target", "resource_group", "resource_plan_id"]) {
            return refusal(StatusCode::BAD_REQUEST, &format!("{field} is required"));
        }
        let text = |field: &str| body[field].as_str().unwrap_or_default().to_owned();
        if text("resource_group") != GROUP {
            return refusal(StatusCode::BAD_REQUEST, "the resource group does not exist");
        }
        let plan = text("resource_plan_id");
        let Some((service, _)) = PLANS.iter().find(|(service, name)| plan_id(service, name) == plan) else {
            return refusal(StatusCode::BAD_REQUEST, "the plan does not exist");
        };
        let is_own_free =
            own.contains(":secrets-manager:") && !self.instances.iter().any(|one| one.crn == own);
        let crn = if *service == "secrets-manager" && is_own_free {
            own.to_owned()
        } else {
            let guid = self.id("instance");
            format!("crn:v1:bluemix:public:{service}:{}:a/{}:{guid}::", text("target"), account(own))
        };
        let guid = crn.split(':').nth(7).unwrap_or_default().to_owned();
        let tags = body["tags"].as_array().into_iter().flatten();
        let tags = tags.filter_map(|tag| tag.as_str().map(str::to_lowercase)).collect();
        let (name, region, created_at) = (text("name"), text("target"), now());
        let instance = Instance { name, crn, guid, region, plan, tags, asked: 0, created_at };
        let json = instance.json();
        self.instances.push(instance);
        (StatusCode::CREATED, json)
    }

    /// What goes with an instance.
    fn forget(&mut self, instance: &Instance) {
        for items in [&mut self.topics, &mut self.destinations, &mut self.subscriptions] {
            items.retain(|item| item["instance"] != instance.guid.as_str());
        }
        let is_of = |registration: &super::registration::Registration| {
            instance.crn.contains(":secrets-manager:") || registration.target == instance.crn
        };
        if self.registration.as_ref().is_some_and(is_of) {
            self.registration = None;
        }
    }

    pub fn tags(&self, request: &CloudRequest<'_>) -> Reply {
        let Some(crn) = request.param("attached_to") else {
            return problem(StatusCode::BAD_REQUEST, "attached_to is missing");
        };
        let of = self.instances.iter().filter(|instance| instance.crn == crn);
        let items: Vec<_> = of.flat_map(|instance| &instance.tags).map(|tag| json!({"name": tag})).collect();
        (StatusCode::OK, json!({"total_count": items.len(), "offset": 0, "limit": 100, "items": items}))
    }
}
