//! The body of an incoming webhook of Slack, which Mattermost and Rocket.Chat take too: a text, and the same as a block
//! with markup.

use serde_json::{Value, json};

use super::summary;
use crate::api::notification::Event;

/// Characters of a text in a block, as Slack limits them.
const MAX_TEXT: usize = 3000;

pub fn message(source: &str, event: &Event) -> Value {
    let (summary, severity) = (escaped(&summary::of(event)), event.severity.as_str());
    let marked = format!("*{severity}*: {summary}\n_{}_", escaped(source));
    json!({
        "text": shortened(&format!("{severity}: {summary}")),
        "blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": shortened(&marked)}}],
    })
}

/// The three characters that Slack would read as markup of a link or a mention.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_TEXT - 1) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
