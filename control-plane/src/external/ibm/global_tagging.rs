//! Global Tagging: the tags of an instance.

use serde::Deserialize;

use super::request::{ApiRequest, Service};

#[derive(Deserialize)]
pub struct Tags {
    #[serde(default)]
    items: Vec<Tag>,
}

#[derive(Deserialize)]
struct Tag {
    name: String,
}

pub fn list(crn: &str) -> ApiRequest {
    ApiRequest::get(Service::GlobalTagging, "/v3/tags")
        .query("tag_type", "user")
        .query("providers", "ghost")
        .query("attached_to", crn)
        .query("limit", "1000")
}

impl Tags {
    /// Tags are not case-sensitive.
    pub fn has(&self, name: &str) -> bool {
        self.items.iter().any(|tag| tag.name.eq_ignore_ascii_case(name))
    }
}
