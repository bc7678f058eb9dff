//! Splits a YAML stream into its documents without losing a byte: joined, they are the stream again.
//!
//! A line that starts with `---` or `...` ends a document wherever it occurs, even in a block scalar or in
//! quotes, so the split needs to consider lines only.

use std::str::Utf8Error;

/// Far more than any API server accepts.
pub const MAX_BYTES: usize = 64 << 20;
pub const MAX_DOCUMENTS: usize = 10_000;

const BYTE_ORDER_MARK: &str = "\u{feff}";

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum DocumentsError {
    #[error("more than {} MiB of YAML: split it into several runs", MAX_BYTES >> 20)]
    TooLarge,
    #[error("more than {MAX_DOCUMENTS} documents: split them into several runs")]
    TooMany,
    #[error("the input is not UTF-8 ({0}): Kubernetes accepts only UTF-8")]
    NotUtf8(#[from] Utf8Error),
}

/// One document, as written in the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Document<'a> {
    /// The separator, and the comments and empty lines that follow it.
    pub head: &'a str,
    pub body: &'a str,
}

pub fn split(bytes: &[u8]) -> Result<Vec<Document<'_>>, DocumentsError> {
    if bytes.len() > MAX_BYTES {
        return Err(DocumentsError::TooLarge);
    }
    let text = std::str::from_utf8(bytes)?;
    let mut documents = Vec::new();
    let (mut start, mut at) = (0, 0);
    for line in text.split_inclusive('\n') {
        if at > start && is_separator(line) {
            documents.push(document(&text[start..at]));
            start = at;
        }
        at += line.len();
        if documents.len() >= MAX_DOCUMENTS {
            return Err(DocumentsError::TooMany);
        }
    }
    if start < text.len() {
        documents.push(document(&text[start..]));
    }
    Ok(documents)
}

/// `---` or `...`, alone or followed by whitespace.
fn is_separator(line: &str) -> bool {
    let rest = line.strip_prefix("---").or_else(|| line.strip_prefix("..."));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

fn document(text: &str) -> Document<'_> {
    let mut head = 0;
    for line in text.split_inclusive('\n') {
        let line_or_mark = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
        if is_separator(line_or_mark) {
            let rest = line_or_mark[3..].trim_start();
            if !rest.is_empty() && !rest.starts_with('#') {
                head += line.len() - line_or_mark.len() + 3;
                break;
            }
        } else if !has_no_content(line_or_mark) {
            head += line.len() - line_or_mark.len();
            break;
        }
        head += line.len();
    }
    let (head, body) = text.split_at(head);
    Document { head, body }
}

/// Empty, a comment or a directive.
fn has_no_content(line: &str) -> bool {
    let line = line.trim_end();
    line.is_empty() || line.starts_with('%') || line.trim_start().starts_with('#')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn bodies(text: &str) -> Vec<&str> {
        split(text.as_bytes()).unwrap().into_iter().map(|document| document.body).collect()
    }

    #[test]
    fn documents_joined_are_the_stream() {
        for text in [
            "",
            "\n",
            "a: 1",
            "a: 1\n---\nb: 2\n",
            "---\n# first\n\na: 1\n--- # second\nb: 2\n...\n---\n",
            "\u{feff}# mark\r\n---\r\na: 1\r\n---\r\nb: 2",
            "%YAML 1.1\n---\na: 1\n",
            "--- {a: 1}\n---\n",
        ] {
            let documents = split(text.as_bytes()).unwrap();
            let sum: String = documents.iter().flat_map(|document| [document.head, document.body]).collect();
            assert_eq!(sum, text);
        }
    }

    #[test]
    fn a_separator_starts_a_line_and_is_followed_by_whitespace() {
        assert_eq!(bodies("a: 1\n---\nb: 2\n"), ["a: 1\n", "b: 2\n"]);
        assert_eq!(bodies("a: |\n  ---\n  x\n----\n"), ["a: |\n  ---\n  x\n----\n"]);
        assert_eq!(bodies("---a\n"), ["---a\n"]);
        assert_eq!(bodies("a: 1\r\n---\r\nb: 2\r\n"), ["a: 1\r\n", "b: 2\r\n"]);
        assert_eq!(bodies("a: 1\n...\nb: 2\n"), ["a: 1\n", "b: 2\n"]);
        assert_eq!(bodies("--- {a: 1}\n"), [" {a: 1}\n"]);
    }

    #[test]
    fn comments_and_separators_before_a_document_are_its_head() {
        let text = "\u{feff}# licence\n---\n# Source: a.yaml\n\na: 1 # b\n# c\n";
        let documents = split(text.as_bytes()).unwrap();
        assert_eq!(documents[0], Document { head: "\u{feff}# licence\n", body: "" });
        assert_eq!(documents[1], Document { head: "---\n# Source: a.yaml\n\n", body: "a: 1 # b\n# c\n" });
        assert_eq!(bodies("\u{feff}a: 1\n"), ["a: 1\n"]);
        assert_eq!(bodies("%YAML 1.1\n---\na: 1\n"), ["", "a: 1\n"]);
    }

    #[test]
    fn an_oversized_stream_is_rejected() {
        assert_eq!(split(&vec![b'#'; MAX_BYTES + 1]), Err(DocumentsError::TooLarge));
        assert_eq!(split("a: 1\n---\n".repeat(MAX_DOCUMENTS + 1).as_bytes()), Err(DocumentsError::TooMany));
        assert!(matches!(split(&[0xff, 0xfe, b'a', 0]), Err(DocumentsError::NotUtf8(_))));
    }
}
