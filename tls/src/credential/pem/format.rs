//! What a file is that is not PEM, so that a refusal names it and says how to convert it.

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
    /// A private key in DER that is encrypted.
    DerEncryptedKey,
    /// In PEM.
    Pkcs7,
    /// In DER.
    DerPkcs7,
    Pkcs12,
    JavaKeyStore,
    OpenSsh,
    Utf16,
    /// Without a byte order mark.
    Utf16Le,
    /// Without a byte order mark.
    Utf16Be,
    /// Base64 of DER, without the lines around it.
    BareBase64,
    /// Base64 of PEM, or of base64.
    Base64Twice,
    /// PEM in one line, with the two characters `\n` for each line break.
    EscapedLineBreaks,
    Json,
    Yaml,
    Html,
    Gzip,
    Zip,
}

const DER_SEQUENCE: u8 = 0x30;
const DER_INTEGER: u8 = 0x02;
const DER_OBJECT_IDENTIFIER: u8 = 0x06;
/// 1.2.840.113549.1, under which are PKCS#7 (7), and what keys are encrypted by: PKCS#5 (5) and PKCS#12 (12).
const PKCS: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01";
/// So many digits of base64 are decoded to see what is in it.
const LOOKED_AT: usize = 64;

impl Format {
    /// What `bytes` are, if they are one of the formats that are no text.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0xfe, 0xed, 0xfe, 0xed, ..] | [0xce, 0xce, 0xce, 0xce, ..] => Some(Self::JavaKeyStore),
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Some(Self::Utf16),
            [0, 1..0x80, ..] => Some(Self::Utf16Be),
            [1..0x80, 0, ..] => Some(Self::Utf16Le),
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            [b'P', b'K', 3, 4, ..] => Some(Self::Zip),
            _ => Self::of_der(bytes),
        }
    }

    /// What a text is in which no section can be read.
    pub fn of_text(text: &[u8]) -> Option<Self> {
        let start = text.trim_ascii_start();
        let holds = |wanted: &[u8]| text.windows(wanted.len()).any(|window| window == wanted);
        match start {
            [b'{', ..] => Some(Self::Json),
            [b'<', ..] => Some(Self::Html),
            _ if holds(b"-----\\n") || holds(b"-----\\r") => Some(Self::EscapedLineBreaks),
            _ if start.starts_with(b"apiVersion:") || holds(b"\nkind:") => Some(Self::Yaml),
            _ if holds(b"-----") => None,
            _ => Self::of_base64(text),
        }
    }

    /// What is in `der`, if it is DER.
    pub fn of_der(der: &[u8]) -> Option<Self> {
        Some(match content(der)? {
            [DER_OBJECT_IDENTIFIER, _, identifier @ ..] if is_pkcs(identifier, &[7]) => Self::DerPkcs7,
            // Its version is 3, and what follows is of PKCS#7.
            [DER_INTEGER, 1, 3, DER_SEQUENCE, ..] => Self::Pkcs12,
            // A private key begins with its version; one that is encrypted with the name of the algorithm.
            [DER_INTEGER, 1, 0 | 1, ..] => Self::DerKey,
            [DER_SEQUENCE, _, DER_OBJECT_IDENTIFIER, _, identifier @ ..] if is_pkcs(identifier, &[5, 12]) => {
                Self::DerEncryptedKey
            }
            [DER_SEQUENCE, _, DER_OBJECT_IDENTIFIER, ..] => Self::DerKey,
            _ => Self::DerCertificate,
        })
    }

    fn of_base64(text: &[u8]) -> Option<Self> {
        let once = decode_start(text)?;
        if once.starts_with(b"-----") || decode_start(&once).is_some_and(|twice| is_known(&twice)) {
            return Some(Self::Base64Twice);
        }
        is_known(&once).then_some(Self::BareBase64)
    }

    /// As a noun.
    pub fn name(self) -> &'static str {
        match self {
            Self::DerCertificate => "a certificate in DER",
            Self::DerKey => "a private key in DER",
            Self::DerEncryptedKey => "an encrypted private key in DER",
            Self::Pkcs7 | Self::DerPkcs7 => "PKCS#7 (.p7b)",
            Self::Pkcs12 => "PKCS#12 (.p12, .pfx)",
            Self::JavaKeyStore => "a Java key store",
            Self::OpenSsh => "a key in the format of OpenSSH",
            Self::Utf16 | Self::Utf16Le | Self::Utf16Be => "text in UTF-16",
            Self::BareBase64 => "base64 without BEGIN and END lines",
            Self::Base64Twice => "encoded with base64 once more",
            Self::EscapedLineBreaks => "PEM with \\n written out in place of line breaks",
            Self::Json => "JSON",
            Self::Yaml => "YAML of a Kubernetes object",
            Self::Html => "HTML or XML, such as an error page",
            Self::Gzip => "compressed with gzip",
            Self::Zip => "a ZIP archive",
        }
    }

    /// What to do, with the command.
    pub fn conversion(self) -> &'static str {
        match self {
            Self::DerCertificate => "convert it with: openssl x509 -inform der -in FILE -out NEW",
            Self::DerKey => "convert it with: openssl pkey -inform der -in FILE -out NEW",
            Self::DerEncryptedKey => "decrypt it with: openssl pkey -inform der -in FILE -out NEW",
            Self::Pkcs7 => "take the certificates out with: openssl pkcs7 -print_certs -in FILE -out NEW",
            Self::DerPkcs7 => {
                "take the certificates out with: openssl pkcs7 -inform der -print_certs -in FILE -out NEW"
            }
            Self::Pkcs12 => {
                "take it apart with: openssl pkcs12 -in FILE -clcerts -nokeys -out tls.crt; \
                 openssl pkcs12 -in FILE -nocerts -nodes -out tls.key; openssl pkcs12 -in FILE -cacerts -nokeys -out ca.crt"
            }
            Self::JavaKeyStore => {
                "convert it with: keytool -importkeystore -srckeystore FILE -destkeystore NEW.p12 -deststoretype \
                 pkcs12, and that with openssl pkcs12"
            }
            Self::OpenSsh => "convert a copy of it with: ssh-keygen -p -N '' -m pkcs8 -f COPY",
            Self::Utf16 => "convert it with: iconv -f UTF-16 -t UTF-8 FILE > NEW",
            Self::Utf16Le => "convert it with: iconv -f UTF-16LE -t UTF-8 FILE > NEW",
            Self::Utf16Be => "convert it with: iconv -f UTF-16BE -t UTF-8 FILE > NEW",
            Self::BareBase64 => {
                "decode it with: base64 -d FILE > DER, and convert that: openssl x509 -inform der -in DER -out NEW \
                 (a key: openssl pkey)"
            }
            Self::Base64Twice => {
                "decode it once with: base64 -d FILE > NEW (values under `data` of a Secret are base64 once; \
                 `stringData` takes PEM as it is)"
            }
            Self::EscapedLineBreaks => r#"convert it with: sed 's/"//g; s/\\r//g; s/\\n/\n/g' FILE > NEW"#,
            Self::Json => {
                r#"take the value out with: jq -r .NAME FILE > NEW (of a Secret: jq -r '.data["tls.crt"]' FILE | base64 -d > NEW)"#
            }
            Self::Yaml => {
                r"take the value out with: kubectl get secret NAME -o jsonpath='{.data.tls\.crt}' | base64 -d > NEW"
            }
            Self::Html => "fetch it again, and look at what the server answers: curl --fail -o NEW URL",
            Self::Gzip => "decompress it with: gunzip -c FILE > NEW",
            Self::Zip => "unpack it with: unzip FILE",
        }
    }
}

fn is_pkcs(identifier: &[u8], numbers: &[u8]) -> bool {
    identifier.strip_prefix(PKCS).and_then(|rest| rest.first()).is_some_and(|number| numbers.contains(number))
}

fn is_known(decoded: &[u8]) -> bool {
    decoded.starts_with(b"-----")
        // Of any length, or a short key, which begins with its version.
        || matches!(decoded, [DER_SEQUENCE, 0x80..=0x84, ..] | [DER_SEQUENCE, _, DER_INTEGER, 1, 0 | 1, ..])
}

/// The first bytes of a text in base64.
fn decode_start(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut digits = Zeroizing::new(Vec::with_capacity(LOOKED_AT));
    digits.extend(text.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).take(LOOKED_AT));
    let whole = digits.len() / 4 * 4;
    digits.truncate(whole);
    let mut decoded = Zeroizing::new(vec![0; LOOKED_AT]);
    let length = STANDARD.decode_slice(&*digits, &mut decoded).ok()?;
    decoded.truncate(length);
    Some(decoded)
}

/// What is in the outermost element, if `bytes` are a sequence in DER rather than text that begins with `0`: one that
/// says its length in more than one byte, as all but a few short keys do, or one that is as long as it says.
fn content(bytes: &[u8]) -> Option<&[u8]> {
    match bytes {
        [DER_SEQUENCE, length @ 0x80..=0x84, rest @ ..] => rest.get(usize::from(length & 0x7f)..),
        [DER_SEQUENCE, length @ ..0x80, rest @ ..] if rest.len() == usize::from(*length) => Some(rest),
        _ => None,
    }
}
