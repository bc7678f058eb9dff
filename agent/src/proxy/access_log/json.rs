//! One object of JSON on one line, written field by field. Text of peers is escaped and cut, whatever its bytes are.

use std::fmt::{Display, Write as _};
use std::time::Duration;

/// In place of what was cut.
const CUT: char = '…';

/// An object that is being written.
pub struct Object<'a> {
    out: &'a mut String,
    is_empty: bool,
}

impl<'a> Object<'a> {
    pub fn begin(out: &'a mut String) -> Self {
        out.push('{');
        Self { out, is_empty: true }
    }

    /// With the end of the line.
    pub fn end(self) {
        self.out.push_str("}\n");
    }

    /// Of which `limit` bytes are shown.
    pub fn text(&mut self, name: &str, text: &[u8], limit: usize) {
        self.name(name);
        self.out.push('"');
        let shown = &text[..text.len().min(limit)];
        for chunk in shown.utf8_chunks() {
            self.escaped(chunk.valid());
            if !chunk.invalid().is_empty() {
                self.out.push(char::REPLACEMENT_CHARACTER);
            }
        }
        if shown.len() < text.len() {
            self.out.push(CUT);
        }
        self.out.push('"');
    }

    /// Of this program's own, in which nothing is to be escaped.
    pub fn plain(&mut self, name: &str, text: &str) {
        self.name(name);
        self.out.push('"');
        self.out.push_str(text);
        self.out.push('"');
    }

    /// The same of what is to be shown.
    pub fn shown(&mut self, name: &str, value: impl Display) {
        self.name(name);
        let _ = write!(self.out, "\"{value}\"");
    }

    pub fn number(&mut self, name: &str, number: u64) {
        self.name(name);
        self.digits(number, 1);
    }

    pub fn seconds(&mut self, name: &str, duration: Duration) {
        self.name(name);
        self.digits(duration.as_secs(), 1);
        self.out.push('.');
        self.digits(duration.subsec_micros().into(), 6);
    }

    /// Of this program's own.
    pub fn list(&mut self, name: &str, items: impl Iterator<Item = &'static str>) {
        self.name(name);
        for (index, item) in items.enumerate() {
            self.out.push_str(if index == 0 { "[\"" } else { ",\"" });
            self.out.push_str(item);
            self.out.push('"');
        }
        self.out.push(']');
    }

    fn name(&mut self, name: &str) {
        self.out.push_str(if self.is_empty { "\"" } else { ",\"" });
        self.is_empty = false;
        self.out.push_str(name);
        self.out.push_str("\":");
    }

    /// At least so many. Without the machinery of formats, which a line would pass some ten times.
    fn digits(&mut self, mut number: u64, at_least: usize) {
        let (mut digits, mut at) = ([b'0'; 20], 20);
        while number > 0 || 20 - at < at_least {
            at -= 1;
            digits[at] = b'0' + (number % 10) as u8;
            number /= 10;
        }
        self.out.extend(digits[at..].iter().map(|digit| char::from(*digit)));
    }

    fn escaped(&mut self, text: &str) {
        // As nearly all text is.
        if text.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\') {
            return self.out.push_str(text);
        }
        let needs_none = |c: char| !(c.is_control() || c == '"' || c == '\\');
        let mut rest = text;
        while let Some(at) = rest.find(|c| !needs_none(c)) {
            self.out.push_str(&rest[..at]);
            let mut left = rest[at..].chars();
            match left.next() {
                Some(c @ ('"' | '\\')) => self.out.extend(['\\', c]),
                // All controls are in the plane of four digits. JSON takes those above 0x7f as they are; a terminal
                // that shows the log would obey them.
                Some(c) => drop(write!(self.out, "\\u{:04x}", u32::from(c))),
                None => {}
            }
            rest = left.as_str();
        }
        self.out.push_str(rest);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    fn object(write: impl FnOnce(&mut Object<'_>)) -> (String, Value) {
        let mut line = String::new();
        let mut object = Object::begin(&mut line);
        write(&mut object);
        object.end();
        let value = serde_json::from_str(&line).unwrap();
        (line, value)
    }

    #[test]
    fn an_object_is_one_line_whatever_peers_send() {
        let text = "a\"b\\c\r\nd\u{1b}[31m\u{7f}\u{85}\u{9b}\u{0}\u{e4}\u{1f600}\u{2028}";
        let (line, value) = object(|object| {
            object.text("text", text.as_bytes(), 1000);
            object.text("bytes", b"x\xff\xfey\xe2\x82", 1000);
            object.number("n", u64::MAX);
            object.seconds("s", Duration::from_micros(12_000_345));
            object.list("flags", ["a", "b"].into_iter());
            object.plain("plain", "1");
            object.shown("shown", 1);
        });
        assert_eq!(line.find('\n'), Some(line.len() - 1));
        assert!(!line.trim_end().contains(|c: char| c.is_control()), "{line:?}");
        let expected = json!({
            "text": text, "bytes": "x\u{fffd}\u{fffd}y\u{fffd}", "n": u64::MAX, "s": 12.000_345, "flags": ["a", "b"],
            "plain": "1", "shown": "1",
        });
        assert_eq!(value, expected);
    }

    #[test]
    fn long_text_is_cut_where_it_may_be() {
        let (_, value) = object(|object| {
            object.text("cut", "abc\u{e4}".as_bytes(), 4);
            object.text("whole", b"abcd", 4);
        });
        assert_eq!(value, json!({ "cut": "abc\u{fffd}…", "whole": "abcd" }));
    }
}
