//! Chains with keys and signatures that only OpenSSL makes.

use std::path::Path;

use tempfile::TempDir;

use crate::chain_cases::{ChainCase, NAME};
use crate::client::{both, command};
use crate::pki::write;

/// The kind of the root's key, how it signs the leaf, and whether it is of X.509 v1.
struct Root {
    key: &'static [&'static str],
    sign: &'static [&'static str],
    v1: bool,
    serial: &'static str,
}

const P256: &[&str] = &["EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
const PLAIN: Root = Root { key: P256, sign: &["-sha256"], v1: false, serial: "1" };
const RSA: &[&str] = &["RSA", "-pkeyopt", "rsa_keygen_bits:2048"];

const WEAK: &str = "OpenSSL takes it at its lowest level of security";
const NOT_TAKEN: &str = "no algorithm of the verifier is for this key";

pub fn cases() -> Vec<ChainCase> {
    let curve = |name: &'static str, key: &'static [&'static str]| chain(name, &Root { key, ..PLAIN });
    let signed =
        |name: &'static str, sign: &'static [&'static str]| chain(name, &Root { key: RSA, sign, ..PLAIN });
    vec![
        chain("root of v1", &Root { v1: true, ..PLAIN }),
        curve("root on P-521", &["EC", "-pkeyopt", "ec_paramgen_curve:P-521"]),
        curve("root of RSA", RSA),
        signed(
            "signed by PSS",
            &["-sha256", "-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:32"],
        ),
        refuse(
            chain("negative serial", &Root { serial: "-5", ..PLAIN }),
            "issuer_not_allowed",
            "Go refuses it",
        ),
        refuse(
            curve("root of RSA with 1024 bits", &["RSA", "-pkeyopt", "rsa_keygen_bits:1024"]),
            "empty_bundle",
            WEAK,
        ),
        refuse(
            curve("root of RSA with 2047 bits", &["RSA", "-pkeyopt", "rsa_keygen_bits:2047"]),
            "empty_bundle",
            NOT_TAKEN,
        ),
        refuse(
            curve("root on secp256k1", &["EC", "-pkeyopt", "ec_paramgen_curve:secp256k1"]),
            "empty_bundle",
            NOT_TAKEN,
        ),
        refuse(
            curve("root on P-224", &["EC", "-pkeyopt", "ec_paramgen_curve:P-224"]),
            "empty_bundle",
            NOT_TAKEN,
        ),
        refuse(
            chain("root of Ed448", &Root { key: &["ED448"], sign: &[], ..PLAIN }),
            "empty_bundle",
            NOT_TAKEN,
        ),
        refuse(signed("signed by SHA-1", &["-sha1"]), "not_supported", WEAK),
        refuse(signed("signed by MD5", &["-md5"]), "not_supported", WEAK),
        refuse(
            signed("signed by PSS with SHA-1", &["-sha1", "-sigopt", "rsa_padding_mode:pss"]),
            "not_supported",
            WEAK,
        ),
        refuse(
            signed(
                "signed by PSS with another salt",
                &["-sha256", "-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:20"],
            ),
            "not_supported",
            "only the salt that is as long as the digest is verified",
        ),
    ]
}

fn refuse(case: ChainCase, reason: &'static str, why: &'static str) -> ChainCase {
    ChainCase { server: Some(reason), client: Some(reason), openssl_differs: Some(why), ..case }
}

fn chain(name: &'static str, root: &Root) -> ChainCase {
    let directory = TempDir::new().unwrap();
    let path = |name: &str| directory.path().join(name);
    let leaf = "keyUsage=digitalSignature\nextendedKeyUsage=serverAuth,clientAuth\n";
    write(&path("leaf.ext"), format!("{leaf}subjectAltName=DNS:{NAME}\n"));
    let extensions = if root.v1 { "" } else { "basicConstraints=critical,CA:true\nkeyUsage=keyCertSign\n" };
    write(&path("root.ext"), extensions);
    let run = |args: &[&str]| openssl(directory.path(), args);
    run(&[&["genpkey", "-out", "root.key", "-algorithm"], root.key].concat());
    run(&[&["genpkey", "-out", "leaf.key", "-algorithm"], P256].concat());
    let subject = format!("/CN={name} root");
    run(&["req", "-new", "-key", "root.key", "-subj", &subject, "-out", "root.csr"]);
    run(&["req", "-new", "-key", "leaf.key", "-subj", "/CN=leaf", "-out", "leaf.csr"]);
    let mut own =
        vec!["x509", "-req", "-in", "root.csr", "-key", "root.key", "-days", "2", "-out", "root.crt"];
    if !root.v1 {
        own.extend(["-extfile", "root.ext"]);
    }
    run(&own);
    let sign = ["x509", "-req", "-in", "leaf.csr", "-CA", "root.crt", "-CAkey", "root.key", "-days", "1"];
    let serial = ["-set_serial", root.serial, "-extfile", "leaf.ext", "-out", "leaf.crt"];
    run(&[&sign[..], &serial, root.sign].concat());
    let read = |name: &str| std::fs::read_to_string(path(name)).unwrap();
    ChainCase::new(name, vec![read("leaf.crt")], read("leaf.key"), read("root.crt"))
}

fn openssl(directory: &Path, args: &[&str]) {
    let output = command("openssl").args(args).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", both(&output));
}
