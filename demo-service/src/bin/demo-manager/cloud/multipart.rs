//! A form with parts (RFC 7578), as far as text and JSON are in it.

use anyhow::{Context as _, Result, bail};
use serde_json::{Map, Value};

/// By the names of the parts. A part of type JSON is parsed.
pub fn fields(body: &[u8], boundary: &str) -> Result<Value> {
    let text = str::from_utf8(body).context("a part is not text")?;
    let delimiter = format!("--{boundary}");
    let mut parts = text.split(delimiter.as_str());
    if !parts.next().is_some_and(str::is_empty) {
        bail!("the form does not begin with its boundary");
    }
    let mut fields = Map::new();
    for part in parts {
        if part.starts_with("--") {
            return Ok(Value::Object(fields));
        }
        let part = part.strip_prefix("\r\n").and_then(|part| part.strip_suffix("\r\n"));
        let (head, content) = part.and_then(|part| part.split_once("\r\n\r\n")).context("malformed part")?;
        let header = |name: &str| {
            head.lines().find_map(|line| {
                let (key, value) = line.split_once(':')?;
                key.eq_ignore_ascii_case(name).then_some(value.trim())
            })
        };
        let name =
            header("content-disposition").and_then(|value| value.split("name=\"").nth(1)?.split('"').next());
        let name = name.context("a part has no name")?;
        let value = match header("content-type") {
            Some("application/json") => serde_json::from_str(content)?,
            _ => content.into(),
        };
        fields.insert(name.to_owned(), value);
    }
    bail!("the form does not end with its boundary")
}
