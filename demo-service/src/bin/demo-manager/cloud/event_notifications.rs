//! Event Notifications: sources, topics, destinations, subscriptions, and where an event goes.

use anyhow::Result;
use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use super::request::CloudRequest;
use super::{Cloud, Reply, State, filter, missing, no_content, now, problem, unsupported};

/// What is answered in place of the value of a sensitive header.
const REDACTED: &str = "REDACTED";

/// Where an event is sent.
#[derive(Debug, PartialEq)]
pub struct Target {
    pub url: String,
    pub headers: Vec<(String, String)>,
}

impl Cloud {
    /// Of the destinations whose subscriptions have a topic that selects this event.
    pub fn targets(&self, event: &Value) -> Vec<Target> {
        let state = self.lock();
        let find = |items: &[Value], id: &Value| items.iter().find(|item| item["id"] == *id).cloned();
        let Some(source) = state.registration.as_ref().map(|registration| registration.source.clone()) else {
            return Vec::new();
        };
        let selected = state.subscriptions.iter().filter_map(|subscription| {
            let topic = find(&state.topics, &subscription["topic_id"])?;
            let mut sources =
                topic["sources"].as_array()?.iter().filter(|item| item["id"] == source.as_str());
            let mut rules = sources.next()?["rules"].as_array()?.iter();
            rules.any(|rule| filter::selects(rule, event)).then_some(())?;
            find(&state.destinations, &subscription["destination_id"])
        });
        selected
            .map(|destination| {
                let params = &destination["config"]["params"];
                let headers = params["custom_headers"].as_object().into_iter().flatten();
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                Target {
                    url: text(&params["url"]),
                    headers: headers.map(|(name, value)| (name.clone(), text(value))).collect(),
                }
            })
            .collect()
    }
}

impl State {
    /// `path`: below the instance.
    pub fn event_notifications(
        &mut self,
        request: &CloudRequest<'_>,
        instance: &str,
        path: &[&str],
    ) -> Result<Reply> {
        let is_known = |one: &super::instances::Instance| one.guid == instance && one.is_active();
        let Some(crn) = self.instances.iter().find(|one| is_known(one)).map(|one| one.crn.clone()) else {
            return Ok(problem(StatusCode::NOT_FOUND, "there is no such instance that is active"));
        };
        let [kind, rest @ ..] = path else { return Ok(unsupported()) };
        if *kind == "sources" {
            let sources = self.sources(&crn);
            return Ok(if rest.is_empty() && request.method == Method::GET {
                page(request, "sources", &sources)
            } else {
                unsupported()
            });
        }
        Ok(match (request.method.as_str(), rest) {
            ("GET", []) => {
                let Some(items) = self.of(kind) else { return Ok(unsupported()) };
                let items: Vec<_> =
                    items.iter().filter(|item| item["instance"] == instance).map(shown).collect();
                page(request, kind, &items)
            }
            ("POST", []) => self.create(kind, instance, &crn, request)?,
            ("GET" | "DELETE", [id]) => {
                let Some(items) = self.of(kind) else { return Ok(unsupported()) };
                let at = items.iter().position(|item| item["id"] == *id && item["instance"] == instance);
                match at {
                    None => problem(StatusCode::NOT_FOUND, "it was not found"),
                    Some(at) if request.method == Method::GET => (StatusCode::OK, shown(&items[at])),
                    Some(at) => {
                        items.remove(at);
                        no_content()
                    }
                }
            }
            _ => unsupported(),
        })
    }

    fn of(&mut self, kind: &str) -> Option<&mut Vec<Value>> {
        Some(match kind {
            "topics" => &mut self.topics,
            "destinations" => &mut self.destinations,
            "subscriptions" => &mut self.subscriptions,
            _ => return None,
        })
    }

    fn sources(&self, crn: &str) -> Vec<Value> {
        let own = json!({"id": format!("{crn}api"), "name": "api", "description": "", "type": "api", "enabled": true,
            "updated_at": now(), "topic_count": 0});
        let registered = self.registration.iter().filter(|registration| registration.target == crn);
        let registered = registered.map(|registration| {
            json!({"id": registration.source, "name": registration.name, "description": registration.description,
                "type": "secrets-manager", "enabled": true, "updated_at": now(), "topic_count": 0})
        });
        std::iter::once(own).chain(registered).collect()
    }

    fn create(&mut self, kind: &str, instance: &str, crn: &str, request: &CloudRequest<'_>) -> Result<Reply> {
        let mut body = request.fields()?;
        if kind == "destinations" && !request.content_type.starts_with("multipart/form-data") {
            return Ok(problem(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "a destination is sent as multipart/form-data",
            ));
        }
        let refusal = match kind {
            "topics" => self.topic_problem(&body, crn),
            "destinations" => destination_problem(&body),
            "subscriptions" => self.subscription_problem(&mut body, instance),
            _ => return Ok(unsupported()),
        };
        if let Some(refusal) = refusal {
            return Ok(problem(StatusCode::BAD_REQUEST, refusal));
        }
        let id = self.id(kind);
        let Some(items) = self.of(kind) else { return Ok(unsupported()) };
        if items.iter().any(|item| item["instance"] == instance && item["name"] == body["name"]) {
            return Ok(problem(StatusCode::CONFLICT, "the name is taken"));
        }
        body["id"] = id.into();
        body["instance"] = instance.into();
        body["created_at"] = now().into();
        body["updated_at"] = now().into();
        if body["description"].is_null() {
            body["description"] = "".into();
        }
        items.push(body.clone());
        Ok((StatusCode::CREATED, shown(&body)))
    }

    fn topic_problem(&self, body: &Value, crn: &str) -> Option<String> {
        if let Some(field) = missing(body, &["name"]) {
            return Some(format!("{field} is required"));
        }
        let known = self.sources(crn);
        body["sources"].as_array().into_iter().flatten().find_map(|source| {
            if let Some(field) = missing(source, &["id", "rules"]) {
                return Some(format!("{field} of a source is required"));
            }
            let is_known = known.iter().any(|one| one["id"] == source["id"]);
            (!is_known).then(|| format!("there is no source {}", source["id"]))
        })
    }

    fn subscription_problem(&self, body: &mut Value, instance: &str) -> Option<String> {
        if let Some(field) = missing(body, &["name", "destination_id", "topic_id"]) {
            return Some(format!("{field} is required"));
        }
        for (field, items, name) in [
            ("destination_id", &self.destinations, "destination_name"),
            ("topic_id", &self.topics, "topic_name"),
        ] {
            let found = items.iter().find(|item| item["id"] == body[field] && item["instance"] == instance);
            let Some(found) = found else { return Some(format!("there is no {field} {}", body[field])) };
            body[name] = found["name"].clone();
            if let Some(kind) = found.get("type") {
                body["destination_type"] = kind.clone();
            }
        }
        None
    }
}

fn destination_problem(body: &Value) -> Option<String> {
    if let Some(field) = missing(body, &["name", "type"]) {
        return Some(format!("{field} is required"));
    }
    if body["type"] != "webhook" {
        return Some("only webhooks are emulated".into());
    }
    let params = &body["config"]["params"];
    if let Some(field) = missing(params, &["url", "verb"]) {
        return Some(format!("config.params.{field} is required"));
    }
    let is_https = params["url"].as_str().is_some_and(|url| url.starts_with("https://"));
    (!is_https).then(|| "the address of a webhook is https".into())
}

/// As it is answered: without what belongs to the emulator, and without values of sensitive headers.
fn shown(item: &Value) -> Value {
    let mut shown = item.clone();
    if let Some(fields) = shown.as_object_mut() {
        fields.remove("instance");
    }
    let params = &mut shown["config"]["params"];
    if let Some(sensitive) = params["sensitive_headers"].as_array().cloned() {
        for name in sensitive.iter().filter_map(Value::as_str) {
            params["custom_headers"][name] = REDACTED.into();
        }
    }
    if item.get("config").is_none()
        && let Some(fields) = shown.as_object_mut()
    {
        fields.remove("config");
    }
    shown
}

fn page(request: &CloudRequest<'_>, kind: &str, items: &[Value]) -> Reply {
    let (limit, offset) = (request.number("limit", 10), request.number("offset", 0));
    let is_meant = |item: &&Value| {
        request
            .param("search")
            .is_none_or(|search| item["name"].as_str().is_some_and(|name| name.contains(search)))
    };
    let found: Vec<_> = items.iter().filter(is_meant).collect();
    let shown: Vec<_> = found.iter().skip(offset).take(limit).collect();
    (StatusCode::OK, json!({"total_count": found.len(), "offset": offset, "limit": limit, kind: shown}))
}
