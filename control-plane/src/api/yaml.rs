//! YAML as kubectl reads it, which is version 1.1 with its booleans and numbers: `yes` is true and 0644 is
//! 420. The output means the same in versions 1.1 and 1.2.

pub mod lines;

use std::fmt::Write;

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_saphyr::options::{DuplicateKeyPolicy, NonFiniteFloatPolicy};

/// Unquoted words, in lower case, that some parser does not take for a string.
const RESERVED_WORDS: [&str; 9] = ["y", "yes", "on", "true", "n", "no", "off", "false", "null"];

/// One document. Numbers that JSON cannot represent are an error.
pub fn read(text: &str) -> Result<Value, serde_saphyr::Error> {
    read_with(text, NonFiniteFloatPolicy::Reject, DuplicateKeyPolicy::LastWins)
}

/// As [`read`]; a key that is given twice in one map is an error.
pub fn read_strict(text: &str) -> Result<Value, serde_saphyr::Error> {
    read_with(text, NonFiniteFloatPolicy::Reject, DuplicateKeyPolicy::Error)
}

/// One document that will not be written again: values that JSON cannot represent may be lost.
pub fn read_lossy(text: &str) -> Result<Value, serde_saphyr::Error> {
    read_with(text, NonFiniteFloatPolicy::AsString, DuplicateKeyPolicy::LastWins)
}

fn read_as<T: DeserializeOwned>(text: &str) -> Result<T, serde_saphyr::Error> {
    read_with(text, NonFiniteFloatPolicy::Reject, DuplicateKeyPolicy::LastWins)
}

fn read_with<T: DeserializeOwned>(
    text: &str,
    non_finite: NonFiniteFloatPolicy,
    duplicates: DuplicateKeyPolicy,
) -> Result<T, serde_saphyr::Error> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: 200,
            max_nodes: 2_000_000,
            max_events: 8_000_000,
            // An anchor may be used thousands of times; the expanded size is bounded by the other limits.
            enforce_alias_anchor_ratio: false,
        },
        duplicate_keys: duplicates,
        legacy_octal_numbers: true,
        non_finite_float_policy: non_finite,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options)
}

/// A document without a separator, in blocks, with keys in alphabetical order.
pub fn write(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => block(&mut out, value, 0, false),
        Value::Array(items) if !items.is_empty() => block(&mut out, value, 0, false),
        _ => scalar(&mut out, value, 0),
    }
    out
}

/// A map or list that is not empty. `inline`: its first line is started already, after a list's dash.
fn block(out: &mut String, value: &Value, indent: usize, inline: bool) {
    let mut started = inline;
    let mut start_line = |out: &mut String| {
        if !std::mem::take(&mut started) {
            out.extend(std::iter::repeat_n(' ', indent));
        }
    };
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                start_line(out);
                out.push_str(&flow(key));
                out.push(':');
                match value {
                    Value::Object(map) if !map.is_empty() => {
                        out.push('\n');
                        block(out, value, indent + 2, false);
                    }
                    Value::Array(items) if !items.is_empty() => {
                        out.push('\n');
                        block(out, value, indent, false);
                    }
                    _ => {
                        out.push(' ');
                        scalar(out, value, indent + 2);
                    }
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                start_line(out);
                out.push_str("- ");
                match item {
                    Value::Object(map) if !map.is_empty() => block(out, item, indent + 2, true),
                    Value::Array(items) if !items.is_empty() => block(out, item, indent + 2, true),
                    _ => scalar(out, item, indent + 2),
                }
            }
        }
        _ => {}
    }
}

/// A value after a key or a dash, with the end of its line.
fn scalar(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::String(text) if is_literal(text) => return literal(out, text, indent),
        Value::String(text) => out.push_str(&flow(text)),
        Value::Number(number) => out.push_str(&float(number.to_string())),
        other => out.push_str(&other.to_string()),
    }
    out.push('\n');
}

/// 1.1 requires a point and a sign: `1e21` is `1.0e+21`.
fn float(text: String) -> String {
    let Some((mantissa, exponent)) = text.split_once('e') else {
        return text;
    };
    let point = if mantissa.contains('.') { "" } else { ".0" };
    let sign = if exponent.starts_with(['-', '+']) { "" } else { "+" };
    format!("{mantissa}{point}e{sign}{exponent}")
}

/// A string on one line, quoted unless every parser takes it for a string without quotes.
fn flow(text: &str) -> String {
    if is_plain(text) {
        return text.to_owned();
    }
    let mut quoted = String::from('"');
    for c in text.chars() {
        let _ = match c {
            '"' | '\\' => write!(quoted, "\\{c}"),
            '\n' => write!(quoted, "\\n"),
            '\t' => write!(quoted, "\\t"),
            '\r' => write!(quoted, "\\r"),
            _ if is_printable(c) => write!(quoted, "{c}"),
            _ if u32::from(c) < 0x100 => write!(quoted, "\\x{:02x}", u32::from(c)),
            _ if u32::from(c) < 0x1_0000 => write!(quoted, "\\u{:04x}", u32::from(c)),
            _ => write!(quoted, "\\U{:08x}", u32::from(c)),
        };
    }
    quoted.push('"');
    quoted
}

/// Starts with a letter, is not a reserved word, and contains no syntax.
fn is_plain(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || " -_./:=@+%$(){}[]*~".contains(c))
        && !text.contains(": ")
        && !text.ends_with([':', ' '])
        && !RESERVED_WORDS.contains(&text.to_ascii_lowercase().as_str())
}

/// Whether the text can be written as a block scalar.
fn is_literal(text: &str) -> bool {
    let body = text.strip_suffix('\n').unwrap_or(text);
    text.contains('\n')
        && !body.is_empty()
        && !body.ends_with('\n')
        && !text.starts_with([' ', '\n'])
        && text.chars().all(|c| c == '\n' || is_printable(c))
}

fn literal(out: &mut String, text: &str, indent: usize) {
    let keep = if text.ends_with('\n') { "" } else { "-" };
    let _ = writeln!(out, "|{keep}");
    for line in text.lines() {
        if !line.is_empty() {
            out.extend(std::iter::repeat_n(' ', indent));
        }
        out.push_str(line);
        out.push('\n');
    }
}

/// Not a control character, a line break specific to 1.1, or a byte order mark.
fn is_printable(c: char) -> bool {
    !c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

#[cfg(test)]
mod tests;
