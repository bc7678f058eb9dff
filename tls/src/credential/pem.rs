//! PEM sections out of raw bytes. A reader of our own because sections hold private keys: what is decoded lands in one
//! buffer that is wiped when dropped, and no error ever quotes the text.
//!
//! Every section that a person sees in the file is taken, or the file is refused: one that is overlooked is a root
//! whose peers are cut off, and nothing says so. Limited by the size of the file alone.

mod format;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

pub use format::Format;

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";
const DASHES: &[u8] = b"-----";
/// U+FEFF, which editors of Windows put in front of a file, and so into the middle of files that are put together.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
const MAX_LABEL: usize = 64;
/// The shortest full line of base64 that programs write.
const MIN_BASE64_LINE: usize = 60;
/// What a key that is encrypted is called, whichever way.
pub const ENCRYPTED: &str = "ENCRYPTED PRIVATE KEY";

/// One `-----BEGIN label-----` … `-----END label-----` section, decoded.
pub struct Section {
    pub label: String,
    pub der: Zeroizing<Vec<u8>>,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    #[error(
        "the section {label} that begins in line {line} has no matching END line: the file looks cut off; write it again \
         as a whole"
    )]
    Unterminated { line: usize, label: String },
    #[error("the section {label} that begins in line {line} is not base64; write the file again")]
    NotBase64 { line: usize, label: String },
    #[error(
        "line {line} is not a whole BEGIN line: it needs five hyphens on both sides and a line of its own (line breaks \
         that were lost, or written as \\n, are a frequent cause)"
    )]
    BadBegin { line: usize },
    #[error(
        "in line {line} something stands in front of -----BEGIN, which other programs would overlook with the whole \
         section: remove what stands in front, or the section"
    )]
    TextBeforeBegin { line: usize },
    #[error("line {line} ends a section that has no BEGIN line: write the file again as a whole")]
    EndWithoutBegin { line: usize },
    #[error(
        "line {line} is base64 of a certificate or key that has no BEGIN line: write the file again as a whole"
    )]
    Base64Outside { line: usize },
    #[error("line {line} holds bytes of value 0, as text in UTF-16 has them: write the file again in UTF-8")]
    NotText { line: usize },
    #[error("it is {found}: {convert}", found = .0.name(), convert = .0.conversion())]
    WrongFormat(Format),
    #[error("there is text in it but no PEM section")]
    NoSection,
}

/// All sections in order. Text between sections is passed over, as every PEM reader does, unless it looks like a
/// section; a line that begins with `#` is a comment. A file of white space has none.
pub fn sections(text: &[u8]) -> Result<Vec<Section>, PemError> {
    if let Some(format) = Format::of(text) {
        return Err(PemError::WrongFormat(format));
    }
    read_sections(text).map_err(|error| Format::of_text(trim(text)).map_or(error, PemError::WrongFormat))
}

fn read_sections(text: &[u8]) -> Result<Vec<Section>, PemError> {
    let mut found = Vec::new();
    let mut lines = Lines::of(text);
    while let Some((number, line)) = lines.next() {
        match line.strip_prefix(BEGIN) {
            Some(rest) => {
                let label = label(rest).ok_or(PemError::BadBegin { line: number })?;
                found.push(read_section(&mut lines, label, number)?);
            }
            None => pass_over(line, number)?,
        }
    }
    if found.is_empty() && lines.had_text {
        return Err(PemError::NoSection);
    }
    Ok(found)
}

/// The lines of a text, numbered from 1, without white space and byte order marks around them. A section that begins
/// behind the end of another in the same line, because the file before it lacks its last line break, has a line of its
/// own here, with the same number.
struct Lines<'a> {
    rest: &'a [u8],
    number: usize,
    /// What follows is in a new line.
    broken: bool,
    had_text: bool,
}

impl<'a> Lines<'a> {
    fn of(text: &'a [u8]) -> Self {
        Self { rest: text, number: 0, broken: true, had_text: false }
    }

    fn next(&mut self) -> Option<(usize, &'a [u8])> {
        if self.rest.is_empty() {
            return None;
        }
        self.number += usize::from(self.broken);
        let end = self.rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(self.rest.len());
        let (mut line, mut after) = self.rest.split_at(end);
        self.broken = true;
        if let Some(glued) = end_of_end_line(line) {
            (line, after) = (&line[..glued], &self.rest[glued..]);
            self.broken = false;
        } else {
            after = match after {
                [b'\r', b'\n', rest @ ..] | [_, rest @ ..] => rest,
                [] => after,
            };
        }
        self.rest = after;
        let line = trim(line);
        self.had_text |= !line.is_empty();
        Some((self.number, line))
    }
}

/// Where an END line ends, if another section begins behind it.
fn end_of_end_line(line: &[u8]) -> Option<usize> {
    let start = line.len() - trim(line).len();
    let label = line.get(start..)?.strip_prefix(END).or_else(|| trim(line).strip_prefix(END))?;
    let from = line.len() - label.len();
    let dashes = from + find(&line[from..], DASHES)?;
    let end = dashes + DASHES.len();
    trim(&line[end..]).starts_with(BEGIN).then_some(end)
}

fn trim(line: &[u8]) -> &[u8] {
    let mut line = line.trim_ascii();
    while let Some(rest) = line.strip_prefix(BYTE_ORDER_MARK) {
        line = rest.trim_ascii_start();
    }
    while let Some(rest) = line.strip_suffix(BYTE_ORDER_MARK) {
        line = rest.trim_ascii_end();
    }
    line
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

/// The label of a BEGIN or END line, of which `rest` is what follows the word.
fn label(rest: &[u8]) -> Option<String> {
    let label = rest.strip_suffix(DASHES)?;
    let is_label = !label.is_empty()
        && label.len() <= MAX_LABEL
        && label.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ')
        && find(label, DASHES).is_none();
    is_label.then(|| String::from_utf8_lossy(label).into_owned())
}

/// A line between sections, unless a person would take it for the beginning or the end of one.
fn pass_over(line: &[u8], number: usize) -> Result<(), PemError> {
    if line.starts_with(b"#") {
        return Ok(());
    }
    if line.starts_with(END) {
        return Err(PemError::EndWithoutBegin { line: number });
    }
    if line.contains(&0) {
        return Err(PemError::NotText { line: number });
    }
    if is_base64_of_der(line) {
        return Err(PemError::Base64Outside { line: number });
    }
    if find(line, BEGIN).is_some() {
        return Err(PemError::TextBeforeBegin { line: number });
    }
    match looks_like_begin(line) {
        true => Err(PemError::BadBegin { line: number }),
        false => Ok(()),
    }
}

/// A full line of base64 that begins as certificates and keys do.
fn is_base64_of_der(line: &[u8]) -> bool {
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    line.len() >= MIN_BASE64_LINE && line.starts_with(b"M") && line.iter().all(is_digit)
}

/// Whether it says BEGIN between hyphens or dashes of another kind or number.
fn looks_like_begin(line: &[u8]) -> bool {
    let text = String::from_utf8_lossy(line);
    let is_dash = |c: char| c == '-' || ('\u{2010}'..='\u{2015}').contains(&c) || c == '\u{2212}';
    let Some(word) = text.to_ascii_uppercase().find("BEGIN") else { return false };
    let before = text.get(..word).unwrap_or_default().trim_end();
    before.ends_with(is_dash) && text.trim_end().ends_with(is_dash)
}

/// Reads on to the end of a section. Header lines in front of its content say that it is encrypted, or nothing that
/// counts here.
fn read_section(lines: &mut Lines<'_>, label: String, line: usize) -> Result<Section, PemError> {
    let (mut content, mut encrypted) = (Vec::new(), false);
    while let Some((_, text)) = lines.next() {
        if let Some(end) = text.strip_prefix(END) {
            return match end.strip_suffix(DASHES) == Some(label.as_bytes()) {
                true if encrypted => Ok(Section { label: ENCRYPTED.into(), der: Zeroizing::default() }),
                true => decode(&content, label, line),
                false => Err(PemError::Unterminated { line, label }),
            };
        }
        if text.starts_with(DASHES) {
            return Err(PemError::Unterminated { line, label });
        }
        encrypted |= text.starts_with(b"Proc-Type:") || text.starts_with(b"DEK-Info:");
        if !content.is_empty() || !text.contains(&b':') {
            content.push(text);
        }
    }
    Err(PemError::Unterminated { line, label })
}

fn decode(lines: &[&[u8]], label: String, line: usize) -> Result<Section, PemError> {
    // Sized once: growing would leave unwiped copies behind.
    let mut encoded = Zeroizing::new(Vec::with_capacity(lines.iter().map(|line| line.len()).sum()));
    let digits = lines.iter().copied().flatten().filter(|byte| !byte.is_ascii_whitespace());
    encoded.extend(digits.copied());
    let mut der = Zeroizing::new(vec![0; encoded.len() / 4 * 3 + 3]);
    match STANDARD.decode_slice(&encoded, &mut der) {
        Ok(length) => {
            der.truncate(length);
            Ok(Section { label, der })
        }
        Err(_) => Err(PemError::NotBase64 { line, label }),
    }
}

#[cfg(test)]
mod tests;
