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
    ] {
        let text = format!("{A}{begin}\nBA==\n");
        assert_eq!(error(text.as_bytes()), PemError::BadBegin { line: 4 }, "{begin}");
    }
    let lost = format!("{A}MIIB{}\n", "A".repeat(60));
    assert_eq!(error(lost.as_bytes()), PemError::Base64Outside { line: 4 });
    let wide: Vec<u8> = B.encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(error(&[A.as_bytes(), &wide].concat()), PemError::NotText { line: 4 });
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
fn header_lines_and_spaces_in_a_section_are_passed_over() {
    let with_header = A.replacen("AQID", "Comment: made by a person\n\nAQ ID", 1);
    has_both(format!("{with_header}{B}"));
    for header in ["Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00", "DEK-Info: DES-EDE3-CBC,00"] {
        let encrypted = A.replacen("AQID", &format!("{header}\n\nAQID"), 1);
        assert_eq!(labels(encrypted.as_bytes()), [(ENCRYPTED.into(), vec![])]);
    }
}

#[test]
fn text_that_looks_like_another_format_is_text() {
    for line in ["01 the first", "0", "0\u{80}", "Mine is mine", "<b>", "{", "kind: of", &"c0ffee".repeat(12)]
    {
        has_both(format!("{line}\n{A}{line}\n{B}{line}"));
    }
}

#[test]
fn other_formats_are_called_by_their_names() {
    let leaf = sections(fixtures::root("a").pem().as_bytes()).unwrap()[0].der.to_vec();
    let key = rcgen::KeyPair::generate().unwrap().serialize_der();
    let base64 = |bytes: &[u8]| STANDARD.encode(bytes).into_bytes();
    let lines =
        |bytes: &[u8]| base64(bytes).chunks(76).flat_map(|line| [line, b"\r\n"].concat()).collect::<Vec<_>>();
    let little = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>();
    let big = |text: &str| text.encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<_>>();
    let marked = format!("\u{feff}{A}");
    let text = |text: &str| text.as_bytes().to_vec();
    let in_base64 = String::from_utf8(base64(A.as_bytes())).unwrap();
    let escaped = A.replace('\n', "\\n");
    // Of PKCS#8 with a passphrase and of PKCS#7, the beginnings.
    let encrypted = b"\x30\x82\x01\x00\x30\x57\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0d".to_vec();
    let pkcs7 = b"\x30\x80\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02".to_vec();
    let pkcs12 = b"\x30\x82\x01\x00\x02\x01\x03\x30\x82".to_vec();
    for (bytes, format) in [
        (leaf.clone(), Format::DerCertificate),
        (key.clone(), Format::DerKey),
        (encrypted, Format::DerEncryptedKey),
        (pkcs7, Format::DerPkcs7),
        (pkcs12.clone(), Format::Pkcs12),
        (base64(&leaf), Format::BareBase64),
        (lines(&leaf), Format::BareBase64),
        (lines(&key), Format::BareBase64),
        (base64(&[b"\x30\x77\x02\x01\x01\x04\x20", &[7; 114][..]].concat()), Format::BareBase64),
        ([BYTE_ORDER_MARK, &base64(&leaf)].concat(), Format::BareBase64),
        (base64(A.as_bytes()), Format::Base64Twice),
        (lines(A.repeat(9).as_bytes()), Format::Base64Twice),
        (base64(&base64(A.as_bytes())), Format::Base64Twice),
        (base64(&base64(&leaf)), Format::Base64Twice),
        (little(A), Format::Utf16Le),
        (big(A), Format::Utf16Be),
        (little(&marked), Format::Utf16),
        (big(&marked), Format::Utf16),
        (little(&format!("Bag Attributes\n{A}")), Format::Utf16Le),
        (b"\xfe\xed\xfe\xed\0\0\0\x02".to_vec(), Format::JavaKeyStore),
        (b"\xce\xce\xce\xce\0\0\0\x02".to_vec(), Format::JavaKeyStore),
        (b"\x1f\x8b\x08\0".to_vec(), Format::Gzip),
        (b"PK\x03\x04\x14\0".to_vec(), Format::Zip),
        (text(&escaped), Format::EscapedLineBreaks),
        (text(&format!("\"{escaped}\"\n")), Format::EscapedLineBreaks),
        (text(&A.replace('\n', "\\r\\n")), Format::EscapedLineBreaks),
        (text(&format!("{{\"data\":{{\"tls.crt\":\"{in_base64}\"}}}}")), Format::Json),
        (text(&format!("{{\n  \"cert\": \"{escaped}\"\n}}")), Format::Json),
        (text(&format!("apiVersion: v1\ndata:\n  tls.crt: {in_base64}\nkind: Secret\n")), Format::Yaml),
        (text("<!DOCTYPE html>\n<html><body>404</body></html>"), Format::Html),
        (text("<html><pre>-----BEGIN A-----</pre>"), Format::Html),
    ] {
        assert_eq!(error(&bytes), PemError::WrongFormat(format));
        assert!(!format.name().is_empty() && format.conversion().contains(' '));
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
