#![allow(clippy::unwrap_used)]
use super::*;
use crate::fixtures;

fn labels(text: &[u8]) -> Vec<(String, Vec<u8>)> {
    sections(text).unwrap().into_iter().map(|section| (section.label, section.der.to_vec())).collect()
}

fn error(text: &[u8]) -> PemError {
    sections(text).err().unwrap()
}

const A: &str = "-----BEGIN A-----\nAQID\n-----END A-----\n";
const B: &str = "-----BEGIN B C-----\nBA==\n-----END B C-----\n";

/// Both sections, whatever stands between and around them.
#[track_caller]
fn has_both(text: impl AsRef<[u8]>) {
    assert_eq!(labels(text.as_ref()), [("A".into(), vec![1, 2, 3]), ("B C".into(), vec![4])]);
}

#[test]
fn sections_come_in_order_and_text_between_is_passed_over() {
    has_both(format!("a comment\n{A}Bag Attributes\n    friendlyName: x\nsubject=CN = a\n{B}"));
    has_both(format!("{A}{B}").replace('\n', "\r\n"));
    has_both(format!("{A}{B}").replace('\n', "\r"));
    has_both(format!("  {A}\t{B}"));
    has_both(format!("{A}# -----BEGIN X-----\n# AQID\n# -----END X-----\n{B}"));
}

#[test]
fn sections_behind_byte_order_marks_and_lost_line_breaks_are_taken() {
    has_both(format!("\u{feff}{A}{B}"));
    has_both(format!("{A}\u{feff}{B}"));
    has_both(format!("\u{feff}{A}\u{feff}\u{feff}{B}\u{feff}"));
    has_both(format!("{}{B}", A.trim_end()));
    has_both(format!("{} \u{feff}{B}", A.trim_end()));
}

#[test]
fn what_looks_like_a_section_is_never_passed_over() {
    assert_eq!(error(format!("{A}tls.crt: {B}").as_bytes()), PemError::TextBeforeBegin { line: 4 });
    assert_eq!(error(format!("{A}\u{200b}{B}").as_bytes()), PemError::TextBeforeBegin { line: 4 });
    for begin in [
        "----BEGIN B C----",
        "----- BEGIN B C -----",
        "—–BEGIN B C—–",
        "-----BEGIN B C-----BA==",
        "-----begin b c-----",
        "-----BEGIN B C----",
        "-----BEGIN -----",
        "-----BEGIN B C-----\\nBA==\\n-----END B C-----",
    ] {
        let text = format!("{A}{begin}\nBA==\n");
        assert_eq!(error(text.as_bytes()), PemError::BadBegin { line: 4 }, "{begin}");
    }
    let end = "-----END B C-----";
    assert_eq!(error(format!("{A}BA==\n{end}\n").as_bytes()), PemError::EndWithoutBegin { line: 5 });
    assert_eq!(
        error(format!("-----BEGIN A-----\nAQID\n{B}").as_bytes()),
        PemError::Unterminated { line: 1, label: "A".into() }
    );
}

#[test]
fn cut_off_file_is_told_from_text_without_sections() {
    assert_eq!(error(b"-----BEGIN A-----\nAQID\n"), PemError::Unterminated { line: 1, label: "A".into() });
    assert_eq!(error(b"hello"), PemError::NoSection);
    assert!(labels(b" \n\t").is_empty());
    assert!(labels("\u{feff}\n".as_bytes()).is_empty());
}

#[test]
fn other_formats_are_called_by_their_names() {
    let leaf = sections(fixtures::root("a").pem().as_bytes()).unwrap()[0].der.to_vec();
    let base64 = |bytes: &[u8]| STANDARD.encode(bytes).into_bytes();
    let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>();
    for (bytes, format) in [
        (leaf.clone(), Format::DerCertificate),
        (base64(&leaf), Format::BareBase64),
        (base64(A.as_bytes()), Format::Base64Twice),
        (utf16(A), Format::Utf16),
        (utf16(&format!("\u{feff}{A}")), Format::Utf16),
        (b"\xfe\xed\xfe\xed\0\0\0\x02".to_vec(), Format::JavaKeyStore),
        (b"\x1f\x8b\x08\0".to_vec(), Format::Gzip),
    ] {
        assert_eq!(error(&bytes), PemError::WrongFormat(format));
    }
}

#[test]
fn files_are_limited_by_size_and_not_by_the_number_of_sections() {
    assert_eq!(labels(A.repeat(5000).as_bytes()).len(), 5000);
}

#[test]
fn errors_never_quote_the_text() {
    for text in [
        "-----BEGIN PRIVATE KEY-----\nsecret!\n-----END PRIVATE KEY-----",
        "secret -----BEGIN PRIVATE KEY-----\nAQID\n-----END PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----secret\n-----END PRIVATE KEY-----",
    ] {
        assert!(!error(text.as_bytes()).to_string().contains("secret"));
    }
}
