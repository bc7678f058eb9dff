//! A body of the user's own making: a template of minijinja, in which every value is escaped as JSON. It is tried with
//! every kind of event when the settings are read, so that a mistake is one of the settings, and not of an event.
//!
//! A template sees what a CloudEvent has, and `kind`, `severity` and `summary`. What an event does not have is null; what
//! no event has is a mistake.

use std::io;

use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use serde_json::{Map, Value, json};

use super::summary;
use crate::api::notification::{Event, EventKind, cloud_event};

const MAX_TEMPLATE: usize = 64 * 1024;
/// Steps of one rendering.
const FUEL: u64 = 100_000;
const MAX_BODY: usize = 256 * 1024;

#[derive(Debug)]
pub struct Template {
    name: String,
    environment: Environment<'static>,
}

#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    #[error("{name} is larger than {MAX_TEMPLATE} bytes")]
    TooLarge { name: String },
    #[error("{name}{}: {cause}", line.map(|line| format!(":{line}")).unwrap_or_default())]
    Invalid { name: String, line: Option<usize>, cause: String },
    #[error("{name} does not make JSON of the event {kind}: {cause}")]
    NotJson { name: String, kind: EventKind, cause: serde_json::Error },
}

impl Template {
    /// `name`: of the file, for errors.
    pub fn parse(name: &str, source: &str) -> Result<Self, TemplateError> {
        if source.len() > MAX_TEMPLATE {
            return Err(TemplateError::TooLarge { name: name.to_owned() });
        }
        let mut environment = Environment::new();
        environment.set_auto_escape_callback(|_| AutoEscape::Json);
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_fuel(Some(FUEL));
        let added = environment.add_template_owned(name.to_owned(), source.to_owned());
        added.map_err(|error| TemplateError::of(name, &error))?;
        let template = Self { name: name.to_owned(), environment };
        for kind in EventKind::all().chain([EventKind::Test]) {
            template.render("urn:hotcert", &sample(kind))?;
        }
        Ok(template)
    }

    pub fn render(&self, source: &str, event: &Event) -> Result<Vec<u8>, TemplateError> {
        let invalid = |error: minijinja::Error| TemplateError::of(&self.name, &error);
        let mut body = Bounded(Vec::new());
        let template = self.environment.get_template(&self.name).map_err(invalid)?;
        template.render_captured_to(context(source, event), &mut body).map_err(invalid)?;
        serde_json::from_slice::<serde::de::IgnoredAny>(&body.0).map_err(|cause| TemplateError::NotJson {
            name: self.name.clone(),
            kind: event.kind,
            cause,
        })?;
        Ok(body.0)
    }
}

impl TemplateError {
    fn of(name: &str, error: &minijinja::Error) -> Self {
        let cause = match (error.detail(), error.kind()) {
            (Some(detail), kind) => format!("{kind}: {detail}"),
            (None, kind) => kind.to_string(),
        };
        Self::Invalid { name: name.to_owned(), line: error.line(), cause }
    }
}

/// Refuses what goes beyond the limit.
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_BODY {
            return Err(io::Error::other(format!("the body is longer than {MAX_BODY} bytes")));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn context(source: &str, event: &Event) -> minijinja::Value {
    let mut context = cloud_event(source, event);
    context["kind"] = json!(event.kind.as_str());
    context["severity"] = json!(event.severity.as_str());
    context["summary"] = json!(summary::of(event));
    if let Some(data) = context["data"].as_object_mut() {
        for (field, _, _) in FIELDS {
            data.entry(*field).or_insert(Value::Null);
        }
    }
    minijinja::Value::from(minijinja::value::Serde(&context))
}

const CERTIFICATES: &[EventKind] = &[
    EventKind::Issued,
    EventKind::Renewed,
    EventKind::Rotated,
    EventKind::RolledBack,
    EventKind::Expiring,
    EventKind::Expired,
    EventKind::RotationFailed,
];
const VERSIONS: &[EventKind] =
    &[EventKind::Issued, EventKind::Renewed, EventKind::Rotated, EventKind::RolledBack];
const ROLLOVERS: &[EventKind] = &[EventKind::Rollover, EventKind::RolloverEnded, EventKind::RolloverStuck];

/// What `data` may have, as text, and of which events.
const FIELDS: &[(&str, &str, &[EventKind])] = &[
    ("namespace", r#""shop""#, CERTIFICATES),
    ("name", r#""mtls-prod-payments""#, CERTIFICATES),
    ("authority", r#""root-prod-shop""#, ROLLOVERS),
    ("manager", r#"{"name": "ibm", "id": "payments"}"#, VERSIONS),
    ("secret", r#""payments-tls""#, &[]),
    ("serial", r#""01:02""#, CERTIFICATES),
    ("sha256", r#""00""#, CERTIFICATES),
    ("not_before", r#""2026-01-01T00:00:00Z""#, CERTIFICATES),
    ("not_after", r#""2026-04-01T00:00:00Z""#, CERTIFICATES),
    ("version", "7", VERSIONS),
    ("root", r#""00""#, VERSIONS),
    ("request", r#""r1""#, &[EventKind::Rotated]),
    ("copy_of", "6", &[EventKind::RolledBack]),
    ("threshold", r#""10d""#, &[EventKind::Expiring]),
    ("threshold_seconds", "864000", &[EventKind::Expiring]),
    ("days_past", "0", &[EventKind::Expired]),
    ("reason", r#""ActionFailed""#, &[EventKind::RotationFailed]),
    ("message", r#""what failed, in \"words\"""#, &[EventKind::RotationFailed]),
    ("phase", r#""Distributing""#, ROLLOVERS),
    ("from", r#""00""#, ROLLOVERS),
    ("to", r#""01""#, ROLLOVERS),
    ("why", r#""yearly""#, ROLLOVERS),
    ("forced", "false", ROLLOVERS),
    ("reversed", "false", ROLLOVERS),
    ("overrides", "[]", ROLLOVERS),
    ("grounds", r#""proved""#, &[EventKind::RolloverEnded]),
    ("waiting", r#"["shop/payments-1"]"#, &[EventKind::RolloverStuck]),
    ("waiting_total", "1", &[EventKind::RolloverStuck]),
];

/// An event of this kind with all that such an event may have.
fn sample(kind: EventKind) -> Event {
    let fields = FIELDS.iter().filter(|(_, _, kinds)| kinds.contains(&kind));
    let data =
        fields.map(|(field, json, _)| ((*field).to_owned(), serde_json::from_str(json).unwrap_or_default()));
    Event { data: Map::from_iter(data), kind, ..Event::test() }
}
