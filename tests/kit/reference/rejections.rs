//! Why an identity is refused: each reason with its meaning, what to do, and a command that shows or mends it. The list
//! of reasons and that of formats come from the sources; one that is not described here, or no longer there, is an error.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::cell;
use super::reasons::{END_OF_FUNCTION, Source, literals};

const REASONS: Source = ("tls/src/identity/rejection.rs", "impl RejectionReason {", END_OF_FUNCTION);
const FORMATS: Source = ("tls/src/credential/pem/format.rs", "pub fn name(self)", END_OF_FUNCTION);

const ABOUT: &str = "Why a certificate, its key or a trust bundle is not served: the label `reason` of \
     `hotcert_reloads_total`, and the field `reason` in `/healthz`, in the log and in `hotcert-agent check --json`. What was \
     served before stays in service. `hotcert-agent check DIR` says all that is wrong with the files of a directory, what \
     has to be done first first, each with the file or the certificate that it is about.";

const SHOW: &str = "openssl x509 -noout -text -in tls.crt";
const CHAIN: &str = "openssl verify -CAfile ca.crt -untrusted tls.crt tls.crt";
const DATES: &str = "openssl x509 -noout -dates -in tls.crt";
const LIST: &str = "openssl crl -noout -text -in ca.crl";

/// Reason, meaning, what to do, command.
const REJECTIONS: &[(&str, &str, &str, &str)] = &[
    ("missing_file", "a file, or the directory, is not there", "publish it beside the others", "ls -lL DIR"),
    (
        "unreadable",
        "a file cannot be read by the agent's user, or is no regular file",
        "make it readable by the user or its group, in a pod with `securityContext.fsGroup`",
        "ls -lL DIR",
    ),
    ("too_large", "a file is larger than 1 MiB", "publish the certificates that are needed", "ls -lL DIR"),
    (
        "malformed_pem",
        "a file is PEM that cannot be read as a whole, lacks what it is for (no certificate, no key) or has what does not belong there (two different keys)",
        "the message names the file and the line: write the file again, each BEGIN and END in a line of its own",
        "grep -n -e ----- tls.crt",
    ),
    (
        "wrong_format",
        "a file is in a format that is not PEM",
        "convert it: the table below has the commands",
        "file tls.crt",
    ),
    (
        "malformed_certificate",
        "a certificate cannot be parsed, is dated before 1970, is not of X.509 version 3, or is an authority's in place of a leaf",
        "issue it again",
        SHOW,
    ),
    (
        "malformed_key",
        "the private key is not PKCS#8, PKCS#1 or SEC1",
        "publish it again",
        "openssl pkey -noout -in tls.key",
    ),
    (
        "encrypted_key",
        "the private key is encrypted with a passphrase, in whichever way",
        "decrypt it, and guard the Secret",
        "openssl pkey -in tls.key -out NEW",
    ),
    (
        "unsupported_key",
        "the key of the leaf is too short or too long, on another curve, or of another kind: P-256, P-384, Ed25519 and RSA of 2048 to 4096 bits are supported",
        "issue the leaf with such a key",
        "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256",
    ),
    (
        "key_mismatch",
        "the private key does not belong to the leaf",
        "publish both from one issuance: the two commands print the same",
        "openssl x509 -noout -pubkey -in tls.crt; openssl pkey -pubout -in tls.key",
    ),
    (
        "expired",
        "a certificate of the chain, or its root, has expired by this machine's clock",
        "renew the one that the message names",
        DATES,
    ),
    (
        "not_yet_valid",
        "a certificate of the chain is valid only later, by this machine's clock",
        "nothing if that is meant, since it is held until then; else look at the clock",
        DATES,
    ),
    (
        "chain_broken",
        "none of the intermediates issued the leaf, one is no authority's, or a signature is not of the issuer that is named",
        "publish the leaf followed by every intermediate",
        CHAIN,
    ),
    (
        "chain_too_costly",
        "peers refuse to verify the chain: more than 10 certificates or 64 KiB, or names that lead to each other in many ways",
        "publish the leaf and the intermediates that lead to its root, and nothing else",
        "grep -c BEGIN tls.crt",
    ),
    (
        "not_supported",
        "a certificate that the message names has a constraint on URIs or directory names, another critical extension, or a signature or key of an issuer that the verifier does not know",
        "issue it again without that",
        SHOW,
    ),
    (
        "issuer_not_allowed",
        "an authority of the chain may not issue it: no keyCertSign in its key usage, or a path length that is too short",
        "issue it under an authority that may",
        CHAIN,
    ),
    (
        "untrusted_by_own_bundle",
        "no root of the bundle issued the chain, an intermediate is missing, a name is outside of an authority's constraints, or a signature is not the root's",
        "publish the intermediates behind the leaf, and the root in the bundle before the leaf",
        CHAIN,
    ),
    (
        "name_missing",
        "the leaf has no subject alternative name although it is for a server, or lacks one of `--expect-name`",
        "issue it with that name",
        "openssl x509 -noout -ext subjectAltName -in tls.crt",
    ),
    (
        "usage_missing",
        "the key usage or extended key usage of the leaf, or of an authority above it, does not allow TLS in this role",
        "issue it with digitalSignature, serverAuth and clientAuth",
        "openssl x509 -noout -ext keyUsage,extendedKeyUsage -in tls.crt",
    ),
    (
        "empty_bundle",
        "the bundle has no certificate, or none that is an authority's with which signatures are verified",
        "publish at least one root",
        "openssl storeutl -noout -text -certs ca.crt",
    ),
    (
        "older_revocation_list",
        "the list of an authority is older than the one in use",
        "publish the newest; restart the agent to take an older one",
        LIST,
    ),
    (
        "unsigned_revocation_list",
        "no authority of that name in the bundle has signed the list; the last good one stays in force",
        "publish the authority's own list, and its certificate if its key is new",
        LIST,
    ),
    ("revoked", "the authority has withdrawn the leaf or an intermediate", "issue a new one", LIST),
    (
        "revocation_unknown",
        "there are revocation lists, and not one for each authority of the chain that is in date and signed by it",
        "publish the lists of all authorities, or no file of lists",
        LIST,
    ),
    (
        "handshake_failed",
        "a handshake of the candidate with itself, in memory, failed",
        "look at what the message says of the two sides; see what another library says",
        "openssl s_server -cert tls.crt -key tls.key",
    ),
];

/// Format, and the command that makes PEM of it.
const CONVERSIONS: &[(&str, &str)] = &[
    ("a certificate in DER", "openssl x509 -inform der -in FILE -out NEW"),
    ("a private key in DER", "openssl pkey -inform der -in FILE -out NEW"),
    ("an encrypted private key in DER", "openssl pkey -inform der -in FILE -out NEW"),
    ("PKCS#7 (.p7b)", "openssl pkcs7 -print_certs -in FILE -out NEW"),
    ("PKCS#12 (.p12, .pfx)", "openssl pkcs12 -in FILE -nodes -out NEW"),
    (
        "a Java key store",
        "keytool -importkeystore -srckeystore FILE -destkeystore NEW.p12 -deststoretype pkcs12",
    ),
    ("a key in the format of OpenSSH", "ssh-keygen -p -N '' -m pkcs8 -f COPY"),
    ("text in UTF-16", "iconv -f UTF-16 -t UTF-8 FILE > NEW"),
    ("base64 without BEGIN and END lines", "base64 -d FILE | openssl x509 -inform der -out NEW"),
    ("encoded with base64 once more", "base64 -d FILE > NEW"),
    ("PEM with \\n written out in place of line breaks", r"sed 's/\\n/\n/g' FILE > NEW"),
    ("JSON", r#"jq -r '.data["tls.crt"]' FILE | base64 -d > NEW"#),
    (
        "YAML of a Kubernetes object",
        r"kubectl get secret NAME -o jsonpath='{.data.tls\.crt}' | base64 -d > NEW",
    ),
    ("HTML or XML, such as an error page", "curl --fail -o NEW URL"),
    ("compressed with gzip", "gunzip -c FILE > NEW"),
    ("a ZIP archive", "unzip FILE"),
];

pub fn section() -> String {
    let described: Vec<_> = REJECTIONS.iter().map(|(reason, ..)| *reason).collect();
    check(&described, &REASONS);
    let formats: Vec<_> = CONVERSIONS.iter().map(|(format, _)| *format).collect();
    check(&formats, &FORMATS);
    let mut text = format!(
        "\n## Why an identity is refused\n\n{ABOUT}\n\n| reason | meaning | what to do | command |\n|---|---|---|---|\n"
    );
    for (reason, meaning, to_do, command) in REJECTIONS {
        let _ = writeln!(text, "| `{reason}` | {} | {} | `{}` |", cell(meaning), cell(to_do), cell(command));
    }
    text.push_str(
        "\nWith `wrong_format`, the message names one of these:\n\n| format | command |\n|---|---|\n",
    );
    for (format, command) in CONVERSIONS {
        let _ = writeln!(text, "| {} | `{}` |", cell(format), cell(command));
    }
    text
}

/// All of the source, and nothing else.
fn check(described: &[&str], source: &Source) {
    let in_source: BTreeSet<String> =
        literals(source).into_iter().map(|text| text.replace("\\\\", "\\")).collect();
    let described: BTreeSet<String> = described.iter().map(|text| (*text).to_owned()).collect();
    assert_eq!(described, in_source, "tests/kit/reference/rejections.rs, and {}", source.0);
}
