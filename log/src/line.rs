//! The log's lines about itself, which no message of `tracing` can be: in the same formats.

use std::fmt::Write as _;

use serde_json::Value;
use tracing::Level;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};

use crate::LogFormat;

/// A whole line, with its end.
pub fn line(format: LogFormat, level: Level, message: &str, fields: &[(&str, Value)]) -> String {
    let mut time = String::new();
    // Fails only where the clock cannot be shown as a date.
    let _ = SystemTime.format_time(&mut Writer::new(&mut time));
    let mut line = match format {
        LogFormat::Text => format!("{time} {level:>5} {message}"),
        LogFormat::Json => {
            format!(r#"{{"timestamp":"{time}","level":"{level}","message":{}"#, Value::from(message))
        }
    };
    for (name, value) in fields {
        let _ = match format {
            LogFormat::Text => write!(line, " {name}={value}"),
            LogFormat::Json => write!(line, r#","{name}":{value}"#),
        };
    }
    line.push_str(match format {
        LogFormat::Text => "\n",
        LogFormat::Json => "}\n",
    });
    line
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_line_has_the_form_of_every_other_line() {
        let fields = [("lines", 3.into()), ("library", "h2".into())];
        let text = line(LogFormat::Text, Level::WARN, "something", &fields);
        assert!(text.ends_with("Z  WARN something lines=3 library=\"h2\"\n"), "{text}");
        let json = line(LogFormat::Json, Level::ERROR, "a \"b\"\nc", &fields);
        assert_eq!(json.matches('\n').count(), 1, "{json}");
        let parsed: Value = serde_json::from_str(&json).unwrap();
        assert_eq!((&parsed["level"], &parsed["lines"]), (&"ERROR".into(), &3.into()));
        assert_eq!(parsed["message"], "a \"b\"\nc");
        assert!(parsed["timestamp"].as_str().unwrap().ends_with('Z'));
    }
}
