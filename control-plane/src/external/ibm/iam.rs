//! IAM: tokens for an API key, and authorizations between services.

use serde::Deserialize;
use serde_json::json;
use zeroize::Zeroizing;

use super::crn::Crn;
use super::request::{ApiRequest, Body, Service, segment};

/// The role on Event Notifications that lets a service be a source of it.
pub const EVENT_SOURCE_MANAGER: &str =
    "crn:v1:bluemix:public:event-notifications::::serviceRole:Event-Source-Manager";
const POLICIES: &str = "/v1/policies";

#[derive(Deserialize)]
pub struct PolicyList {
    #[serde(default)]
    pub policies: Vec<Policy>,
    pub next: Option<Page>,
}

#[derive(Deserialize)]
pub struct Page {
    pub start: Option<String>,
}

#[derive(Clone, Deserialize)]
pub struct Policy {
    pub id: Option<String>,
    #[serde(default)]
    pub description: String,
    #[serde(default)]
    subjects: Vec<Attributes>,
    #[serde(default)]
    roles: Vec<Role>,
    #[serde(default)]
    resources: Vec<Attributes>,
}

#[derive(Clone, Deserialize)]
struct Attributes {
    #[serde(default)]
    attributes: Vec<Attribute>,
}

#[derive(Clone, Deserialize)]
struct Attribute {
    name: String,
    value: String,
}

#[derive(Clone, Deserialize)]
struct Role {
    role_id: String,
}

pub fn token(api_key: &str) -> ApiRequest {
    let field = |text: &str| Zeroizing::new(text.to_owned());
    let form = vec![
        ("grant_type", field("urn:ibm:params:oauth:grant-type:apikey")),
        ("apikey", field(api_key)),
        ("response_type", field("cloud_iam")),
    ];
    let request = ApiRequest::new(Service::Iam, hyper::Method::POST, "/identity/token");
    ApiRequest { body: Body::Form(form), ..request }.secret("apikey")
}

/// `start`: the token of a page.
pub fn list_authorizations(account: &str, start: Option<&str>) -> ApiRequest {
    let request =
        ApiRequest::get(Service::Iam, POLICIES).query("account_id", account).query("type", "authorization");
    match start {
        Some(start) => request.query("start", start),
        None => request,
    }
}

pub fn authorize(source: &Crn, target: &Crn, description: &str) -> ApiRequest {
    let attributes = |crn: &Crn| {
        json!([{"attributes": [
            {"name": "accountId", "value": crn.account},
            {"name": "serviceName", "value": crn.service},
            {"name": "serviceInstance", "value": crn.instance},
        ]}])
    };
    ApiRequest::post(
        Service::Iam,
        POLICIES,
        json!({
            "type": "authorization",
            "subjects": attributes(source),
            "roles": [{"role_id": EVENT_SOURCE_MANAGER}],
            "resources": attributes(target),
            "description": description,
        }),
    )
}

pub fn delete_policy(id: &str) -> ApiRequest {
    ApiRequest::delete(Service::Iam, format!("{POLICIES}/{}", segment(id)))
}

impl Policy {
    /// Whether it lets `source` be a source of `target`, by itself or together with other instances.
    pub fn authorizes(&self, source: &Crn, target: &Crn) -> bool {
        let covers = |parties: &[Attributes], crn: &Crn| {
            parties.iter().any(|party| {
                let value = |name: &str| {
                    party.attributes.iter().find(|attribute| attribute.name == name).map(|found| &found.value)
                };
                let known = ["accountId", "serviceName", "serviceInstance"];
                value("serviceName") == Some(&crn.service)
                    && value("serviceInstance").is_none_or(|instance| *instance == crn.instance)
                    && party.attributes.iter().all(|attribute| known.contains(&attribute.name.as_str()))
            })
        };
        let has_role = self.roles.iter().any(|role| role.role_id == EVENT_SOURCE_MANAGER);
        has_role && covers(&self.subjects, source) && covers(&self.resources, target)
    }
}
