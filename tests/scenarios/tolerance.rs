//! Files as tools, editors and people leave them: what OpenSSL and nginx take is taken, with all that is in it, unless
//! they lose something of it or overlook a danger.

use std::path::{Path, PathBuf};

use kit::client::SERVER;
use kit::forge::Forge;
use kit::nginx;
use kit::pki::write;
use tempfile::TempDir;

use crate::conversions::{self, check, sh};

const FILES: &[&str] = &["tls.crt", "tls.key", "ca.crt"];
const CERT: &[&str] = &["tls.crt"];
const KEY: &[&str] = &["tls.key"];
const ROOTS: &[&str] = &["ca.crt"];
const CERTS: &[&str] = &["tls.crt", "ca.crt"];

enum Right {
    Taken,
    /// By nginx as well.
    Refused,
    /// At least one of the files, and why that is no reason to take it.
    TakenByNginx(&'static str),
}
use Right::{Refused, Taken, TakenByNginx};

/// In each of the files, of which `good` is a copy: the script that makes it, and what is right.
type Row = (&'static [&'static str], &'static str, Right);

const LOSES: &str = "nginx does without the section that it overlooks";
const NOT_TEXT: &str = "a file with bytes of value 0 was cut off by a crash, or is UTF-16 in part";
const UNKNOWN: &str = "nobody can say what a section is for that no program knows";
const LIMITED: &str =
    "OpenSSL's settings behind it limit what it is trusted for, and hotcert would not apply them";
const OTHER_KEY: &str = "a key that belongs elsewhere was published, which somebody has to know";

const ROWS: &[Row] = &[
    // What editors and systems make of it.
    (FILES, "cat good", Taken),
    (FILES, r"printf '\357\273\277' && cat good", Taken),
    (FILES, r"sed 's/^-----BEGIN/\xef\xbb\xbf-----BEGIN/' good", Taken),
    (FILES, r"sed 's/$/\r/' good", Taken),
    (FILES, r"sed 's/$/\r\r/' good", Taken),
    (FILES, r"tr '\n' '\r' < good", Taken),
    (FILES, r"sed 's/$/ \t/' good", Taken),
    (FILES, r"sed 's/^/  /' good", Taken),
    (FILES, r#"printf '%s' "$(cat good)""#, Taken),
    (FILES, r"printf '\n\n' && cat good && printf '\n\n'", Taken),
    (FILES, r"cat good && printf '\032'", Taken),
    (FILES, r"cat good && printf '\0\0'", TakenByNginx(NOT_TEXT)),
    (CERTS, "sed -z 's/-----\\n-----BEGIN/----------BEGIN/g' good", Taken),
    // What stands around the sections, and in front of them.
    (FILES, "openssl x509 -in tls.crt -noout -text && cat good", Taken),
    (FILES, "sed 's/^-----BEGIN/# of the shop\\n-----BEGIN/' good", Taken),
    (FILES, r"sed 's/^-----BEGIN/M\xfcller\n-----BEGIN/' good", Taken),
    (FILES, "printf -- '-----\\n' && cat good && printf -- '----------\\n'", Taken),
    (FILES, "sed 's/^-----BEGIN/# of the shop: -----BEGIN/' good", Refused),
    (FILES, "sed 's/^-----BEGIN/the shop: -----BEGIN/' good", Refused),
    (FILES, r"sed 's/^\(-----BEGIN.*\)$/\1 of the shop/' good", Refused),
    (FILES, r"sed 's/^\(-----END.*\)$/\1 of the shop/' good", Refused),
    (CERTS, "sed '0,/-----END/!s/^-----BEGIN/# the next: -----BEGIN/' good", TakenByNginx(LOSES)),
    (CERTS, "sed '0,/-----END/!s/^-----BEGIN/----BEGIN/' good", TakenByNginx(LOSES)),
    (ROOTS, r#"printf '"' && cat good && printf '"'"#, TakenByNginx(LOSES)),
    // Their content.
    (FILES, r"sed '/^---/!s/^\(.....\)/\1 /' good", Taken),
    (FILES, "sed -z ':a;s/\\([^-]\\)\\n\\([^-]\\)/\\1\\2/;ta' good", Taken),
    (FILES, r"sed '/^---/!s/^\(..........\)/\1\n/' good", Taken),
    (FILES, "sed '3s/^...../!!!!!/' good", Refused),
    (FILES, "sed 's/-----END .*/-----END X-----/' good", Refused),
    (FILES, "sed '/END/d' good", Refused),
    (FILES, "tr '\\n' ' ' < good", Refused),
    (FILES, "true", Refused),
    // Other sections.
    (CERT, "cat tls.key good", Taken),
    (CERT, "cat good tls.key", Taken),
    (CERT, "sed '0,/-----END/!d' good && cat tls.key && sed '0,/-----END/d' good", Taken),
    (KEY, "cat good tls.crt", Taken),
    (KEY, "cat tls.crt good", Taken),
    (CERT, "cat good tls.key > both && cp both tls.key && cat both", Taken),
    (ROOTS, "cat good tls.key", Taken),
    (ROOTS, "cat tls.crt good", Taken),
    (CERTS, "cat good good", Taken),
    (CERTS, "cat good ca.crt", Taken),
    (FILES, "cat good && openssl req -new -key tls.key -subj /CN=x", Taken),
    (FILES, "openssl pkey -in tls.key -pubout && cat good", Taken),
    (FILES, "cat good && openssl dsaparam 512 && openssl dhparam -dsaparam 512", Taken),
    (FILES, "cat good && sed 's/PRIVATE KEY/THING/;s/CERTIFICATE/THING/' good", TakenByNginx(UNKNOWN)),
    (CERT, "cat good && openssl ecparam -name prime256v1 -genkey -noout", TakenByNginx(OTHER_KEY)),
    (KEY, "cat good && openssl ecparam -name prime256v1 -genkey -noout", TakenByNginx(OTHER_KEY)),
    (KEY, "openssl ecparam -name prime256v1 -genkey -noout && cat good", Refused),
    // What certificates are called and what OpenSSL writes behind them.
    (CERTS, "sed 's/CERTIFICATE/X509 CERTIFICATE/' good", Taken),
    (CERT, "openssl x509 -in good -trustout && sed '0,/-----END/d' good", Taken),
    (CERT, "openssl x509 -in good -trustout -setalias shop && sed '0,/-----END/d' good", Taken),
    (
        CERT,
        "openssl x509 -in good -trustout -addtrust serverAuth && sed '0,/-----END/d' good",
        TakenByNginx(LIMITED),
    ),
    (ROOTS, "openssl x509 -in good -trustout && cat good", Taken),
    (ROOTS, "openssl x509 -in good -trustout -addreject serverAuth && cat good", TakenByNginx(LIMITED)),
    (
        CERT,
        "openssl pkcs12 -export -in good -inkey tls.key -passout pass:x -name shop | openssl pkcs12 -nodes -passin pass:x",
        Taken,
    ),
    (
        KEY,
        "openssl pkcs12 -export -in tls.crt -inkey good -passout pass:x | openssl pkcs12 -nodes -nocerts -passin pass:x",
        Taken,
    ),
    (
        ROOTS,
        "openssl pkcs12 -export -nokeys -in good -passout pass:x | openssl pkcs12 -nokeys -passin pass:x",
        Taken,
    ),
    // What clouds give, beside the system's.
    (ROOTS, "cat good /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt", Taken),
    // Keys.
    (KEY, "openssl pkey -in good -traditional", Taken),
    (KEY, "openssl pkey -in good -text", Taken),
    (KEY, "openssl ecparam -name prime256v1 && openssl pkey -in good -traditional", Taken),
    (KEY, "openssl ec -in good -no_public", Taken),
    (KEY, "openssl pkcs8 -topk8 -passout pass: -in good", Refused),
];

/// An identity with a chain of two certificates and two roots, in a directory of its own for each file.
struct Identity {
    directory: TempDir,
    files: [(&'static str, String); 3],
}

impl Default for Identity {
    fn default() -> Self {
        let (root, other) = (Forge::default(), Forge::root("another root"));
        let between = root.intermediate("between");
        let leaf = between.leaf(SERVER);
        let files = [
            ("tls.crt", leaf.cert + &between.cert),
            ("tls.key", leaf.key),
            ("ca.crt", root.cert.clone() + &other.cert),
        ];
        Self { directory: TempDir::new().unwrap(), files }
    }
}

impl Identity {
    /// With `file` made from itself by `script`.
    fn with(&self, number: usize, file: &str, script: &str) -> PathBuf {
        let directory = self.directory.path().join(format!("{number}-{file}"));
        std::fs::create_dir(&directory).unwrap();
        for (name, content) in &self.files {
            write(&directory.join(name), content);
        }
        std::fs::copy(directory.join(file), directory.join("good")).unwrap();
        let made = sh(&directory, script);
        write(&directory.join(file), made);
        directory
    }
}

/// Whether nginx takes all three files, for a server that verifies its clients.
fn nginx_takes(directory: &Path) -> bool {
    let file = |name: &str| directory.join(name).display().to_string();
    // Without it nginx asks for a passphrase, if there is a terminal.
    write(&directory.join("passphrases"), "of another key\n");
    let server = format!(
        "server {{ listen unix:{} ssl; ssl_certificate {}; ssl_certificate_key {}; ssl_client_certificate {}; \
         ssl_verify_client on; ssl_password_file {}; }}",
        file("socket"),
        file("tls.crt"),
        file("tls.key"),
        file("ca.crt"),
        file("passphrases")
    );
    nginx::takes(&directory.join("nginx"), &server)
}

#[test]
fn whatever_openssl_and_nginx_take_is_taken() {
    let identity = Identity::default();
    for (number, (files, script, right)) in ROWS.iter().enumerate() {
        let mut differs = false;
        for file in *files {
            let directory = identity.with(number, file, script);
            let (served, report) = check(&directory);
            assert_eq!(served, matches!(right, Taken), "{file} by {script}: {report:#}");
            differs |= !served && nginx_takes(&directory);
            if served {
                assert!(report["faults"].as_array().unwrap().is_empty(), "{file} by {script}: {report:#}");
                let roots = report["trust"]["roots"].as_array().unwrap().len();
                assert!(roots >= 2, "a root is lost of {file} by {script}: {report:#}");
            }
        }
        match right {
            TakenByNginx(why) => assert!(differs, "not taken by nginx: {files:?} by {script}, though {why}"),
            _ => assert!(!differs, "taken by nginx: {files:?} by {script}"),
        }
    }
}

#[test]
fn other_formats_are_no_formats_of_nginx() {
    let identity = Identity::default();
    // A key of another kind than its certificate's is none that nginx would use, but it says nothing.
    let rows = conversions::ROWS.iter().filter(|(_, _, reason, ..)| *reason != "unsupported_key");
    for (number, (file, script, ..)) in rows.enumerate() {
        let directory = identity.with(number, file, script);
        assert!(!check(&directory).0 && !nginx_takes(&directory), "{file} by {script}");
    }
}
