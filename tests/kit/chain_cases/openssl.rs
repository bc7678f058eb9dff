//! Chains with keys, signatures and versions that only OpenSSL makes.

use std::path::Path;

use tempfile::TempDir;

use super::{ChainCase, NAME};
use crate::client::{both, command};
use crate::pki::write;

/// What is made otherwise than usual. Keys are made by a script that writes them.
struct Kind {
    root: &'static str,
    root_v1: bool,
    leaf: &'static str,
    leaf_v1: bool,
    /// How the root signs the leaf.
    sign: &'static [&'static str],
    serial: &'static str,
}

const USUAL: Kind =
    Kind { root: P256, root_v1: false, leaf: P256, leaf_v1: false, sign: &["-sha256"], serial: "1" };

const P256: &str = "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256";
const P384: &str = "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384";
const P521: &str = "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-521";
const P224: &str = "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-224";
const SECP256K1: &str = "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:secp256k1";
const BRAINPOOL: &str = "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:brainpoolP256r1";
const BINARY: &str = "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:sect283k1";
const WRITTEN_OUT: &str =
    "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -pkeyopt ec_param_enc:explicit";
const COMPRESSED: &str =
    "openssl ecparam -name prime256v1 -genkey -noout | openssl pkey -ec_conv_form compressed";
const NO_PUBLIC_HALF: &str = "openssl ecparam -name prime256v1 -genkey -noout | openssl ec -no_public";
const ED25519: &str = "openssl genpkey -algorithm ED25519";
const ED448: &str = "openssl genpkey -algorithm ED448";
const DSA: &str = "openssl genpkey -genparam -algorithm DSA -pkeyopt dsa_paramgen_bits:1024 -out parameters && \
                   openssl genpkey -paramfile parameters";
const RSA: &str = "openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048";
const RSA_EXPONENT: &str =
    "openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -pkeyopt rsa_keygen_pubexp:3";
const RSA_1024: &str = "openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024";
const RSA_2047: &str = "openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2047";
const RSA_4096: &str = "openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:4096";
/// With more primes a long key is found sooner.
const RSA_8192: &str =
    "openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:8192 -pkeyopt rsa_keygen_primes:4";
/// OpenSSL takes minutes to find primes for so long a key. These of Mersenne's are known.
const RSA_16384: &str = r#"python3 - > key.conf <<'END' && openssl asn1parse -genconf key.conf -noout -out key.der
from math import lcm, prod
p = 2**9941 - 1
rest = [2**n - 1 for n in (4423, 1279, 607, 127, 7)]
q, e = prod(rest), 65537
of_q = lcm(*(r - 1 for r in rest))
d = pow(e, -1, lcm(p - 1, of_q))
print("asn1=SEQUENCE:key\n[key]")
for i, n in enumerate([0, p * q, e, d, p, q, d % (p - 1), d % of_q, pow(q, -1, p)]):
    print(f"n{i}=INTEGER:{n:#x}")
END
openssl pkey -inform der -in key.der"#;
const PSS: &str = "openssl genpkey -algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048";
const PSS_RESTRICTED: &str = "openssl genpkey -algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048 \
                              -pkeyopt rsa_pss_keygen_md:sha256 -pkeyopt rsa_pss_keygen_mgf1_md:sha256 \
                              -pkeyopt rsa_pss_keygen_saltlen:32";

const WEAK: &str = "OpenSSL takes it at its lowest level of security";
const NOT_TAKEN: &str = "no algorithm of the verifier is for this key";
const NOT_BY_ALL: &str = "OpenSSL takes it, and peers with other libraries do not";
const NOT_BY_GO: &str = "Go cannot read it";

pub fn cases() -> Vec<ChainCase> {
    [roots(), signatures(), leaves()].into_iter().flatten().collect()
}

fn roots() -> Vec<ChainCase> {
    let root = |name, script| chain(name, &Kind { root: script, ..USUAL });
    let refused = |name, script, why| refuse(root(name, script), "empty_bundle", why);
    vec![
        chain("root of v1", &Kind { root_v1: true, ..USUAL }),
        root("root on P-521", P521),
        root("root of RSA", RSA),
        refused("root of RSA with 1024 bits", RSA_1024, WEAK),
        refused("root of RSA with 2047 bits", RSA_2047, NOT_TAKEN),
        refused("root on secp256k1", SECP256K1, NOT_TAKEN),
        refused("root on P-224", P224, NOT_TAKEN),
        refused("root with a compressed point", COMPRESSED, NOT_BY_GO),
        refuse(chain("root of Ed448", &Kind { root: ED448, sign: &[], ..USUAL }), "empty_bundle", NOT_TAKEN),
    ]
}

fn signatures() -> Vec<ChainCase> {
    let signed = |name, sign| chain(name, &Kind { root: RSA, sign, ..USUAL });
    let refused = |name, sign, why| refuse(signed(name, sign), "not_supported", why);
    const PADDING: &str = "rsa_padding_mode:pss";
    vec![
        signed("signed by PSS", &["-sha256", "-sigopt", PADDING, "-sigopt", "rsa_pss_saltlen:32"]),
        refuse(
            chain("negative serial", &Kind { serial: "-5", ..USUAL }),
            "issuer_not_allowed",
            "Go refuses it",
        ),
        refused("signed by SHA-1", &["-sha1"], WEAK),
        refused("signed by MD5", &["-md5"], WEAK),
        refused("signed by PSS with SHA-1", &["-sha1", "-sigopt", PADDING], WEAK),
        refused(
            "signed by PSS with another salt",
            &["-sha256", "-sigopt", PADDING, "-sigopt", "rsa_pss_saltlen:20"],
            "only the salt that is as long as the digest is verified",
        ),
    ]
}

fn leaves() -> Vec<ChainCase> {
    let leaf = |name, script| chain(name, &Kind { leaf: script, ..USUAL });
    let refused = |name, script, says, why| ChainCase {
        says: Some(says),
        ..refuse(leaf(name, script), "unsupported_key", why)
    };
    vec![
        leaf("leaf on P-384", P384),
        leaf("leaf of Ed25519", ED25519),
        leaf("leaf of RSA", RSA),
        leaf("leaf of RSA with 4096 bits", RSA_4096),
        leaf("leaf of RSA with the exponent 3", RSA_EXPONENT),
        leaf("key without its public half", NO_PUBLIC_HALF),
        refused("leaf of RSA with 1024 bits", RSA_1024, "RSA of 1024 bits, which is too short", WEAK),
        refused("leaf of RSA with 2047 bits", RSA_2047, "RSA of 2047 bits, which is too short", NOT_TAKEN),
        refused("leaf of RSA with 8192 bits", RSA_8192, "RSA of 8192 bits, which is too long", NOT_BY_ALL),
        refused("leaf of RSA with 16384 bits", RSA_16384, "RSA of 16384 bits, which is too long", NOT_TAKEN),
        refused("leaf of RSA-PSS", PSS, "RSA for RSASSA-PSS alone", NOT_TAKEN),
        refused("leaf of RSA-PSS with parameters", PSS_RESTRICTED, "RSA for RSASSA-PSS alone", NOT_TAKEN),
        refused("leaf of DSA", DSA, "DSA", NOT_TAKEN),
        refused("leaf of Ed448", ED448, "Ed448", NOT_TAKEN),
        refused("leaf on P-521", P521, "on the curve P-521 (521 bits)", NOT_BY_ALL),
        refused("leaf on P-224", P224, "on the curve P-224 (224 bits)", NOT_TAKEN),
        refused("leaf on secp256k1", SECP256K1, "on the curve secp256k1 (256 bits)", NOT_TAKEN),
        refused("leaf on a curve of Brainpool", BRAINPOOL, "on a Brainpool curve", NOT_TAKEN),
        refused("leaf on a binary curve", BINARY, "on a curve that is not supported", NOT_TAKEN),
        ChainCase {
            openssl_differs: None,
            ..refused(
                "leaf on a curve that is written out",
                WRITTEN_OUT,
                "written out in place of",
                NOT_TAKEN,
            )
        },
        refused("leaf with a compressed point", COMPRESSED, "a compressed point", NOT_BY_GO),
        ChainCase {
            says: Some("not of X.509 version 3"),
            ..refuse(
                chain("leaf of v1", &Kind { leaf_v1: true, ..USUAL }),
                "malformed_certificate",
                "webpki and Go want version 3 of a leaf",
            )
        },
    ]
}

fn refuse(case: ChainCase, reason: &'static str, why: &'static str) -> ChainCase {
    ChainCase { server: Some(reason), client: Some(reason), openssl_differs: Some(why), ..case }
}

fn chain(name: &'static str, kind: &Kind) -> ChainCase {
    let directory = TempDir::new().unwrap();
    let path = |name: &str| directory.path().join(name);
    let leaf = "keyUsage=digitalSignature\nextendedKeyUsage=serverAuth,clientAuth\n";
    write(&path("leaf.ext"), format!("{leaf}subjectAltName=DNS:{NAME}\n"));
    write(&path("root.ext"), "basicConstraints=critical,CA:true\nkeyUsage=keyCertSign\n");
    let openssl = |args: &[&str]| run(directory.path(), "openssl", args);
    for (key, script) in [("root.key", kind.root), ("leaf.key", kind.leaf)] {
        write(&path(key), run(directory.path(), "sh", &["-ec", script]));
    }
    let subject = format!("/CN={name} root");
    openssl(&["req", "-new", "-key", "root.key", "-subj", &subject, "-out", "root.csr"]);
    openssl(&["req", "-new", "-key", "leaf.key", "-subj", "/CN=leaf", "-out", "leaf.csr"]);
    let with = |is_v1: bool, file: &'static str| match is_v1 {
        true => vec![],
        false => vec!["-extfile", file],
    };
    let own = ["x509", "-req", "-in", "root.csr", "-key", "root.key", "-days", "2", "-out", "root.crt"];
    openssl(&[&own[..], &with(kind.root_v1, "root.ext")].concat());
    let leaf = ["x509", "-req", "-in", "leaf.csr", "-CA", "root.crt", "-CAkey", "root.key", "-days", "1"];
    let serial = ["-set_serial", kind.serial, "-out", "leaf.crt"];
    openssl(&[&leaf[..], &serial, &with(kind.leaf_v1, "leaf.ext"), kind.sign].concat());
    let read = |name: &str| std::fs::read_to_string(path(name)).unwrap();
    ChainCase::new(name, vec![read("leaf.crt")], read("leaf.key"), read("root.crt"))
}

/// What it writes.
fn run(directory: &Path, program: &str, args: &[&str]) -> Vec<u8> {
    let output = command(program).args(args).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", both(&output));
    output.stdout
}
