//! The Resource Controller: resource groups and instances of services.

use serde::Deserialize;
use serde_json::json;

use super::request::{ApiRequest, Service, segment};

const INSTANCES: &str = "/v2/resource_instances";

#[derive(Deserialize)]
pub struct Groups {
    #[serde(default)]
    pub resources: Vec<Group>,
}

#[derive(Deserialize)]
pub struct Group {
    pub id: String,
    pub name: String,
}

#[derive(Deserialize)]
pub struct Instances {
    #[serde(default)]
    pub resources: Vec<Instance>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Instance {
    pub crn: String,
    pub guid: String,
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub state: String,
    #[serde(default)]
    pub resource_plan_id: String,
    pub last_operation: Option<LastOperation>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct LastOperation {
    #[serde(default)]
    pub state: String,
    #[serde(default)]
    pub description: String,
}

/// An instance that is to be made.
pub struct NewInstance<'n> {
    pub name: &'n str,
    pub region: &'n str,
    pub resource_group: &'n str,
    pub plan: &'n str,
    pub tag: &'n str,
}

/// `name`: `None` for the default one of the account.
pub fn resource_group(name: Option<&str>) -> ApiRequest {
    let request = ApiRequest::get(Service::ResourceController, "/v2/resource_groups");
    match name {
        Some(name) => request.query("name", name),
        None => request.query("default", "true"),
    }
}

pub fn find(name: &str) -> ApiRequest {
    ApiRequest::get(Service::ResourceController, INSTANCES)
        .query("name", name)
        .query("type", "service_instance")
        .query("limit", "100")
}

pub fn create(new: &NewInstance<'_>) -> ApiRequest {
    let NewInstance { name, region, resource_group, plan, tag } = new;
    let body = json!({
        "name": name,
        "target": region,
        "resource_group": resource_group,
        "resource_plan_id": plan,
        "tags": [tag],
    });
    ApiRequest::post(Service::ResourceController, INSTANCES, body)
}

pub fn instance(guid: &str) -> ApiRequest {
    ApiRequest::get(Service::ResourceController, format!("{INSTANCES}/{}", segment(guid)))
}

pub fn delete(guid: &str) -> ApiRequest {
    ApiRequest::delete(Service::ResourceController, format!("{INSTANCES}/{}", segment(guid)))
}
