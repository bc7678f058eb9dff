//! Files in other formats, as tools write them: the refusal calls each by its name, and where it gives a command, that
//! makes a file of it that is taken.

use std::path::Path;

use kit::agent::program;
use kit::client::{SERVER, both, command};
use kit::pki::{Pki, write};
use serde_json::Value;

/// File, how the other format is made of `good`, reason, what the refusal says, and whether its command is run.
pub(crate) type Row = (&'static str, &'static str, &'static str, &'static str, bool);

const ENCRYPTED: &str = "encrypted with a passphrase";
pub(crate) const ROWS: &[Row] = &[
    ("tls.crt", "openssl x509 -in good -outform der", "wrong_format", "a certificate in DER", true),
    ("ca.crt", "openssl x509 -in good -outform der", "wrong_format", "a certificate in DER", true),
    ("tls.key", "openssl pkey -in good -outform der", "wrong_format", "a private key in DER", true),
    (
        "tls.key",
        "openssl pkcs8 -topk8 -nocrypt -in good -outform der",
        "wrong_format",
        "a private key in DER",
        true,
    ),
    ("ca.crt", "openssl crl2pkcs7 -nocrl -certfile good -outform der", "wrong_format", "PKCS#7", true),
    ("tls.crt", "openssl crl2pkcs7 -nocrl -certfile good", "wrong_format", "PKCS#7", true),
    (
        "ca.crt",
        "openssl crl2pkcs7 -nocrl -certfile good | sed s/PKCS7/CERTIFICATE/",
        "wrong_format",
        "PKCS#7",
        true,
    ),
    ("tls.crt", "openssl pkcs12 -export -nokeys -in good -passout pass:x", "wrong_format", "PKCS#12", false),
    (
        "tls.key",
        "openssl pkcs12 -export -in tls.crt -inkey good -passout pass:x",
        "wrong_format",
        "PKCS#12",
        false,
    ),
    ("ca.crt", "iconv -f UTF-8 -t UTF-16 good", "wrong_format", "text in UTF-16", true),
    ("ca.crt", "iconv -f UTF-8 -t UTF-16LE good", "wrong_format", "text in UTF-16", true),
    ("tls.key", "iconv -f UTF-8 -t UTF-16BE good", "wrong_format", "text in UTF-16", true),
    ("tls.crt", "openssl x509 -in good -outform der | base64", "wrong_format", "base64 without BEGIN", false),
    (
        "tls.key",
        "openssl pkey -in good -outform der | base64 -w0",
        "wrong_format",
        "base64 without BEGIN",
        false,
    ),
    ("ca.crt", "base64 good", "wrong_format", "base64 once more", true),
    ("tls.crt", "base64 -w0 good", "wrong_format", "base64 once more", true),
    ("tls.crt", r"sed -z 's/\n/\\n/g' good", "wrong_format", r"PEM with \n", true),
    ("ca.crt", r#"printf '"%s"' "$(sed -z 's/\n/\\r\\n/g' good)""#, "wrong_format", r"PEM with \n", true),
    ("ca.crt", r#"printf '{"ca": "%s"}' "$(base64 -w0 good)""#, "wrong_format", "is JSON", false),
    (
        "tls.crt",
        r#"printf 'apiVersion: v1\ndata:\n  tls.crt: %s\n' "$(base64 -w0 good)""#,
        "wrong_format",
        "is YAML",
        false,
    ),
    ("ca.crt", "echo '<html><body>404 Not Found</body></html>'", "wrong_format", "is HTML", false),
    ("tls.crt", "gzip -c good", "wrong_format", "compressed with gzip", true),
    ("tls.key", "openssl pkcs8 -topk8 -passout pass:x -in good", "encrypted_key", ENCRYPTED, false),
    (
        "tls.key",
        "openssl pkcs8 -topk8 -passout pass:x -in good -outform der",
        "encrypted_key",
        ENCRYPTED,
        false,
    ),
    (
        "tls.key",
        "openssl pkcs8 -topk8 -v1 PBE-SHA1-3DES -passout pass:x -in good",
        "encrypted_key",
        ENCRYPTED,
        false,
    ),
    ("tls.key", "openssl ec -aes128 -passout pass:x -in good", "encrypted_key", ENCRYPTED, false),
    ("tls.key", "openssl ec -des3 -passout pass:x -in good", "encrypted_key", ENCRYPTED, false),
    ("tls.key", "openssl genpkey -algorithm ED448", "unsupported_key", "Ed448", false),
    ("tls.key", "openssl genpkey -algorithm X25519", "unsupported_key", "X25519", false),
    ("tls.key", "openssl ecparam -name SM2 -genkey -noout", "unsupported_key", "SM2 (256 bits)", false),
    (
        "tls.key",
        "openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_primes:3",
        "unsupported_key",
        "RSA of more than two primes",
        false,
    ),
    (
        "tls.key",
        "openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_primes:3 | openssl rsa -traditional",
        "unsupported_key",
        "RSA of more than two primes",
        false,
    ),
    ("tls.key", "openssl ecparam -name secp256k1 -genkey", "unsupported_key", "secp256k1 (256 bits)", false),
    (
        "tls.key",
        "openssl ecparam -name secp224r1 -genkey -noout",
        "unsupported_key",
        "P-224 (224 bits)",
        false,
    ),
    (
        "tls.key",
        "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256",
        "key_mismatch",
        "does not belong",
        false,
    ),
    ("tls.crt", "openssl req -new -key tls.key -subj /CN=x", "malformed_pem", "certificate request", false),
    ("tls.crt", "openssl pkey -in tls.key -pubout", "malformed_pem", "no certificate", false),
    ("tls.crt", "tr '\\n' ' ' < good", "malformed_pem", "line 1", false),
    (
        "tls.crt",
        "sed 's/^-----BEGIN/cert: -----BEGIN/' good",
        "malformed_pem",
        "in front of -----BEGIN",
        false,
    ),
    ("ca.crt", "sed '/BEGIN/d' good", "malformed_pem", "no BEGIN line", false),
    ("ca.crt", "head -c 300 good", "malformed_pem", "no matching END line", false),
    ("tls.key", "openssl x509 -in tls.crt", "malformed_pem", "no private key", false),
];

/// What it writes.
pub(crate) fn sh(directory: &Path, script: &str) -> Vec<u8> {
    let output = command("sh").arg("-ec").arg(script).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "{script}: {}", both(&output));
    output.stdout
}

/// Whether it would be served, and what `check` says.
pub(crate) fn check(directory: &Path) -> (bool, Value) {
    let mut check = command(program("hotcert-agent"));
    let output = check.arg("check").arg(directory).arg("--json").output().unwrap();
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", both(&output)));
    (output.status.success(), report)
}

/// A directory with a good identity, in which `file` is made from itself by `script`.
fn changed(pki: &Pki, number: usize, file: &str, script: &str) -> std::path::PathBuf {
    let directory = pki.path(&format!("identity-{number}"));
    std::fs::create_dir(&directory).unwrap();
    let leaf = pki.leaf(SERVER);
    write(&directory.join("tls.crt"), &leaf.cert);
    write(&directory.join("tls.key"), &leaf.key);
    write(&directory.join("ca.crt"), pki.roots());
    std::fs::copy(directory.join(file), directory.join("good")).unwrap();
    let made = sh(&directory, script);
    write(&directory.join(file), made);
    directory
}

/// The command that a refusal gives, with the file that it makes.
fn run_command(directory: &Path, detail: &str) {
    let (_, command) = detail.split_once("with: ").unwrap_or_else(|| panic!("no command: {detail}"));
    // An explanation in parentheses may follow.
    let command = command.split(" (").next().unwrap();
    sh(directory, &command.replace("NEW", "made"));
}

#[test]
fn other_formats_are_called_by_their_names_and_the_commands_convert_them() {
    let pki = Pki::default();
    for (number, (file, script, reason, says, runs)) in ROWS.iter().enumerate() {
        let directory = changed(&pki, number, file, script);
        let (served, report) = check(&directory);
        let faults = report["faults"].as_array().unwrap();
        let detail = faults[0]["detail"].as_str().unwrap_or_default();
        assert!(!served && faults.len() == 1, "{file} by {script}: {report:#}");
        assert_eq!(faults[0]["reason"], *reason, "{file} by {script}: {report:#}");
        assert!(detail.contains(says), "{file} by {script}: {detail}");
        if *runs {
            run_command(&directory, detail);
            std::fs::rename(directory.join("made"), directory.join(file)).unwrap();
            let (served, report) = check(&directory);
            assert!(served, "{file} by {script}, then {detail}: {report:#}");
        }
    }
}
