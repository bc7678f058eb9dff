//! The Global Catalog: the ids of plans.

use serde::Deserialize;

use super::request::{ApiRequest, Service, segment};

#[derive(Deserialize)]
pub struct Entries {
    #[serde(default)]
    pub resources: Vec<Entry>,
}

#[derive(Deserialize)]
pub struct Entry {
    pub id: String,
    pub name: String,
    #[serde(default)]
    pub kind: String,
}

pub fn find_service(name: &str) -> ApiRequest {
    ApiRequest::get(Service::GlobalCatalog, "/").query("q", name)
}

pub fn plans(service: &str) -> ApiRequest {
    ApiRequest::get(Service::GlobalCatalog, format!("/{}/plan", segment(service)))
}
