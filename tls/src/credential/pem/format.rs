//! What a file is that is not PEM, by its first bytes, so that a refusal names it and says how to convert it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// A format that is known and not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A certificate in DER.
    DerCertificate,
    /// A private key in DER.
    DerKey,
    Pkcs7,
    Pkcs12,
    JavaKeyStore,
    Utf16,
    /// Base64 of DER, without the lines around it.
    BareBase64,
    /// Base64 of PEM.
    Base64Twice,
    Gzip,
}

const DER_SEQUENCE: u8 = 0x30;
const DER_INTEGER: u8 = 0x02;
const DER_OBJECT_IDENTIFIER: u8 = 0x06;
/// 1.2.840.113549.1.7, under which all types of PKCS#7 are.
const PKCS7: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x07";
/// So much of a text is decoded to see what is in it.
const LOOKED_AT: usize = 64;

impl Format {
    /// What `bytes` are, if they are one of these and not PEM.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] if !bytes.starts_with(b"\xfe\xed\xfe\xed") => {
                Some(Self::Utf16)
            }
            [0, b'-', ..] | [b'-', 0, ..] => Some(Self::Utf16),
            [0xfe, 0xed, 0xfe, 0xed, ..] | [0xce, 0xce, 0xce, 0xce, ..] => Some(Self::JavaKeyStore),
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            [DER_SEQUENCE, length, ..] if *length > 0x20 => Some(Self::of_der(bytes)),
            _ => Self::of_base64(bytes),
        }
    }

    fn of_der(der: &[u8]) -> Self {
        let content = content(der);
        match content {
            [DER_OBJECT_IDENTIFIER, _, identifier @ ..] if identifier.starts_with(PKCS7) => Self::Pkcs7,
            // Its version is 3, and what follows is of PKCS#7.
            [DER_INTEGER, 1, 3, DER_SEQUENCE, ..] => Self::Pkcs12,
            // A private key begins with its version; one that is encrypted with the name of the algorithm.
            [DER_INTEGER, 1, 0 | 1, ..] => Self::DerKey,
            [DER_SEQUENCE, _, DER_OBJECT_IDENTIFIER, ..] => Self::DerKey,
            _ => Self::DerCertificate,
        }
    }

    fn of_base64(text: &[u8]) -> Option<Self> {
        let mut digits = text.iter().copied().filter(|byte| !byte.is_ascii_whitespace());
        let mut start = Zeroizing::new(Vec::with_capacity(LOOKED_AT));
        start.extend(digits.by_ref().take(LOOKED_AT));
        let whole = start.len() / 4 * 4;
        start.truncate(whole);
        let mut decoded = Zeroizing::new(vec![0; LOOKED_AT]);
        let length = STANDARD.decode_slice(&*start, &mut decoded).ok()?;
        match &decoded[..length] {
            [b'-', b'-', b'-', b'-', b'-', ..] => Some(Self::Base64Twice),
            der @ [DER_SEQUENCE, ..] if der.len() > 16 => Some(Self::BareBase64),
            _ => None,
        }
    }

    /// As a noun.
    pub fn name(self) -> &'static str {
        match self {
            Self::DerCertificate => "a certificate in DER",
            Self::DerKey => "a private key in DER",
            Self::Pkcs7 => "PKCS#7 (.p7b)",
            Self::Pkcs12 => "PKCS#12 (.p12, .pfx)",
            Self::JavaKeyStore => "a Java key store",
            Self::Utf16 => "text in UTF-16",
            Self::BareBase64 => "base64 without BEGIN and END lines",
            Self::Base64Twice => "PEM that was encoded with base64 once more",
            Self::Gzip => "compressed with gzip",
        }
    }

    /// What to do, with the command.
    pub fn conversion(self) -> &'static str {
        match self {
            Self::DerCertificate => "convert it with: openssl x509 -inform der -in FILE -out NEW",
            Self::DerKey => "convert it with: openssl pkey -inform der -in FILE -out NEW",
            Self::Pkcs7 => {
                "take the certificates out with: openssl pkcs7 -inform der -print_certs -in FILE -out NEW \
                 (without -inform der if it has BEGIN and END lines)"
            }
            Self::Pkcs12 => {
                "take it apart with: openssl pkcs12 -in FILE -clcerts -nokeys -out tls.crt; \
                 openssl pkcs12 -in FILE -nocerts -nodes -out tls.key; openssl pkcs12 -in FILE -cacerts -nokeys -out ca.crt"
            }
            Self::JavaKeyStore => {
                "convert it with: keytool -importkeystore -srckeystore FILE -destkeystore NEW.p12 -deststoretype \
                 pkcs12, and that with openssl pkcs12"
            }
            Self::Utf16 => "convert it with: iconv -f UTF-16 -t UTF-8 FILE > NEW",
            Self::BareBase64 => "convert it with: base64 -d FILE | openssl x509 -inform der -out NEW",
            Self::Base64Twice => {
                "decode it once with: base64 -d FILE > NEW (values under `data` of a Secret are base64 once; \
                 `stringData` takes PEM as it is)"
            }
            Self::Gzip => "decompress it with: gunzip",
        }
    }
}

/// What is in the outermost element of `der`.
fn content(der: &[u8]) -> &[u8] {
    let header = match der {
        [_, length, ..] if *length < 0x80 => 2,
        [_, length, ..] => 2 + usize::from(length & 0x7f),
        _ => return &[],
    };
    der.get(header..).unwrap_or_default()
}
