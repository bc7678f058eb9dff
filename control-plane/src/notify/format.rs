//! What a subscription is sent: the event as a CloudEvent, or in the form that a receiver of another kind expects.
//! Alertmanager holds alerts, which last: it is told of a state again while it lasts, and once that it has ended.

mod alertmanager;
mod slack;
mod summary;
mod template;

use std::fmt;
use std::time::{Duration, SystemTime};

use serde::Deserialize;

use crate::api::notification::{Event, cloud_event};

pub use alertmanager::REPEAT;
pub use template::{Template, TemplateError};

const CLOUD_EVENT: &str = "application/cloudevents+json; charset=utf-8";
const JSON: &str = "application/json";

#[derive(Debug, Default)]
pub enum Format {
    #[default]
    CloudEvents,
    Alertmanager,
    Slack,
    Template(Box<Template>),
}

/// As the settings file has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FormatName {
    #[default]
    CloudEvents,
    Alertmanager,
    Slack,
    Template,
}

/// An event that is sent, or the end of the state that it told of.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    pub event: Event,
    pub is_resolved: bool,
}

/// The body of a request.
#[derive(Clone, Debug)]
pub struct Message {
    pub body: Vec<u8>,
    pub content_type: &'static str,
}

impl Format {
    /// `source`: of the CloudEvent.
    pub fn message(&self, source: &str, notice: &Notice, now: SystemTime) -> Result<Message, TemplateError> {
        let event = &notice.event;
        let json =
            |body: serde_json::Value| Message { body: body.to_string().into_bytes(), content_type: JSON };
        Ok(match self {
            Self::CloudEvents => {
                let body = cloud_event(source, event).to_string().into_bytes();
                Message { body, content_type: CLOUD_EVENT }
            }
            Self::Alertmanager => json(alertmanager::alerts(source, notice, now)),
            Self::Slack => json(slack::message(source, event)),
            Self::Template(template) => Message { body: template.render(source, event)?, content_type: JSON },
        })
    }

    /// The path below that of the subscription's URL.
    pub fn path(&self) -> Option<&'static str> {
        matches!(self, Self::Alertmanager).then_some(alertmanager::PATH)
    }

    /// How long after it was delivered a state that lasts is sent again. `None`: each event is sent once.
    pub fn repeat(&self) -> Option<Duration> {
        matches!(self, Self::Alertmanager).then_some(REPEAT)
    }
}

impl FormatName {
    /// Whether a receiver can tell a forgery by its signature, so that keys are required.
    pub fn is_signed(self) -> bool {
        self == Self::CloudEvents
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CloudEvents => "cloudevents",
            Self::Alertmanager => "alertmanager",
            Self::Slack => "slack",
            Self::Template(_) => "template",
        })
    }
}

#[cfg(test)]
mod tests;
