//! PEM sections out of raw bytes. A reader of our own because sections hold private keys: what is
//! decoded lands in one buffer that is wiped when dropped, and no error ever quotes the text.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// A file with more sections than this is refused, whatever they hold.
const MAX_SECTIONS: usize = 256;

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";
const DASHES: &[u8] = b"-----";

/// One `-----BEGIN label-----` … `-----END label-----` section, decoded.
pub struct Section {
    pub label: String,
    pub der: Zeroizing<Vec<u8>>,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    #[error("section {section} ({label}) has no matching END line: the file looks cut off")]
    Unterminated { section: usize, label: String },
    #[error("section {section} ({label}) is not base64")]
    NotBase64 { section: usize, label: String },
    #[error("section {section} ({label}) is encrypted: store the key without a passphrase")]
    Encrypted { section: usize, label: String },
    #[error("a BEGIN line of section {section} is malformed")]
    BadBegin { section: usize },
    #[error("there is text but no PEM section in it")]
    NoSection,
    #[error("there are more than {MAX_SECTIONS} PEM sections")]
    TooMany,
}

/// All sections in order. Text between sections is ignored, as every PEM reader does; a file of
/// white space has none.
pub fn sections(text: &[u8]) -> Result<Vec<Section>, PemError> {
    let mut found = Vec::new();
    let mut lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    while let Some(line) = lines.next() {
        let Some(rest) = line.strip_prefix(BEGIN) else {
            continue;
        };
        let section = found.len() + 1;
        if section > MAX_SECTIONS {
            return Err(PemError::TooMany);
        }
        let label = rest
            .strip_suffix(DASHES)
            .filter(|label| label.len() <= 64 && label.is_ascii())
            .ok_or(PemError::BadBegin { section })?;
        let label = String::from_utf8_lossy(label).into_owned();
        found.push(read_section(&mut lines, label, section)?);
    }
    if found.is_empty() && !text.trim_ascii().is_empty() {
        return Err(PemError::NoSection);
    }
    Ok(found)
}

fn read_section<'a>(
    lines: &mut impl Iterator<Item = &'a [u8]>,
    label: String,
    section: usize,
) -> Result<Section, PemError> {
    let mut content = Vec::new();
    for line in lines {
        if let Some(end) = line.strip_prefix(END) {
            return match end.strip_suffix(DASHES) == Some(label.as_bytes()) {
                true => decode(&content, label, section),
                false => Err(PemError::Unterminated { section, label }),
            };
        }
        if line.starts_with(b"Proc-Type:") {
            return Err(PemError::Encrypted { section, label });
        }
        content.push(line);
    }
    Err(PemError::Unterminated { section, label })
}

fn decode(lines: &[&[u8]], label: String, section: usize) -> Result<Section, PemError> {
    // Sized once: growing would leave unwiped copies behind.
    let mut encoded = Zeroizing::new(Vec::with_capacity(lines.iter().map(|line| line.len()).sum()));
    lines.iter().for_each(|line| encoded.extend_from_slice(line));
    let mut der = Zeroizing::new(vec![0; encoded.len() / 4 * 3 + 3]);
    match STANDARD.decode_slice(&encoded, &mut der) {
        Ok(length) => {
            der.truncate(length);
            Ok(Section { label, der })
        }
        Err(_) => Err(PemError::NotBase64 { section, label }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn sections_come_in_order_and_text_between_is_ignored() {
        let text = b"a comment\n-----BEGIN A-----\r\nAQID\r\n-----END A-----\nmore\n-----BEGIN B C-----\nBA==\n-----END B C-----";
        let found = sections(text).unwrap();
        let seen: Vec<_> = found.iter().map(|s| (s.label.as_str(), s.der.as_slice())).collect();
        assert_eq!(seen, [("A", &[1, 2, 3][..]), ("B C", &[4][..])]);
    }

    #[test]
    fn cut_off_file_is_told_from_text_without_sections() {
        assert_eq!(
            sections(b"-----BEGIN A-----\nAQID\n").err(),
            Some(PemError::Unterminated { section: 1, label: "A".into() })
        );
        assert_eq!(sections(b"hello").err(), Some(PemError::NoSection));
        assert!(sections(b" \n\t").unwrap().is_empty());
    }

    #[test]
    fn errors_never_quote_the_text() {
        let error =
            sections(b"-----BEGIN PRIVATE KEY-----\nsecret!\n-----END PRIVATE KEY-----").err().unwrap();
        assert!(!error.to_string().contains("secret"));
        let many = "-----BEGIN A-----\nAQID\n-----END A-----\n".repeat(MAX_SECTIONS + 1);
        assert_eq!(sections(many.as_bytes()).err(), Some(PemError::TooMany));
    }
}
