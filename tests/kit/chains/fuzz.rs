//! What hotcert makes of a chain against what others make of it: nothing is accepted that webpki refuses, and nothing that
//! OpenSSL or Go refuses without a reason that stands here.

use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::Context as _;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use super::certificate::private_key;
use super::go::Go;
use super::mutate::LEAF_KEY;
use super::openssl::{self, OpenSsl};
use super::ours::Ours;
use super::{Case, Role, webpki_alone};

/// What others refuse and hotcert accepts, and why that is left to them.
const LEFT: &[Left] = &[
    Left {
        who: "OpenSSL",
        says: &["format error in certificate's not"],
        of: |_| true,
        why: "the dates of a root may be written otherwise than DER has it; who publishes a root means it",
    },
    Left {
        who: "OpenSSL",
        says: &["Could not read", "unable to get local issuer"],
        of: has_unreadable,
        why: "names are compared, and not read",
    },
    Left {
        who: "OpenSSL",
        says: &["unable to get local issuer"],
        of: has_directory_names,
        why: "directory names among the others are not read",
    },
    Left {
        who: "OpenSSL",
        says: &["unspecified certificate verification error"],
        of: |_| true,
        why: "names are compared, and not read",
    },
    Left {
        who: "OpenSSL",
        says: &["certs public key", "decode issuer public key"],
        of: |_| true,
        why: "the key of a leaf is used in the handshake, which fails",
    },
    Left {
        who: "Go",
        says: &[
            "malformed",
            "invalid RDNSequence",
            "invalid UTF8String",
            "invalid PrintableString",
            "mismatch",
            "unsupported time format",
        ],
        of: |_| true,
        why: "names are compared, and not read; nor are the signature and the form of the dates of a root",
    },
    Left {
        who: "Go",
        says: &[
            "unhandled critical extension",
            "cannot parse rfc822Name",
            "cannot parse dnsName",
            "URI with empty host",
        ],
        of: |_| true,
        why: "names of kinds that bind nobody here are not read",
    },
];

struct Left {
    who: &'static str,
    says: &'static [&'static str],
    of: fn(&Case) -> bool,
    /// For who reads this.
    #[allow(dead_code)]
    why: &'static str,
}

impl Left {
    fn covers(&self, who: &str, says: &str, case: &Case) -> bool {
        self.who == who && self.says.iter().any(|part| says.contains(part)) && (self.of)(case)
    }
}

/// The path alone that is accepted: OpenSSL takes the first issuer of a name that no key identifier tells from others and
/// looks for no other, and Go says of the last path why it is none.
fn without_others(case: &Case) -> Case {
    let mut path = case.clone();
    let is_accepted = |case: &Case| Ours::of(case).peer(case).is_ok();
    for at in (0..case.roots.len()).rev() {
        let mut without = path.clone();
        without.roots.remove(at);
        path = if is_accepted(&without) { without } else { path };
    }
    for at in (0..case.intermediates.len()).rev() {
        let mut without = path.clone();
        without.intermediates.remove(at);
        path = if is_accepted(&without) { without } else { path };
    }
    path
}

/// One's own file is served as it is: of two issuers of a name peers may take the one that is refused.
fn serves_path_alone(case: &Case) -> bool {
    let path = without_others(case);
    Ours::of(&path).check(&path).is_some_and(|check| check.is_ok())
}

/// A certificate that OpenSSL's own program does not read.
fn has_unreadable(case: &Case) -> bool {
    let mut all = case.roots.iter().chain(&case.intermediates).chain([&case.leaf]);
    all.any(|der| !openssl::reads(der))
}

/// A certificate has a directory name as alternative name.
fn has_directory_names(case: &Case) -> bool {
    let mut all = case.roots.iter().chain(&case.intermediates).chain([&case.leaf]);
    all.any(|der| {
        let Ok((_, certificate)) = X509Certificate::from_der(der) else { return false };
        let names = certificate.subject_alternative_name().ok().flatten();
        let mut names = names.iter().flat_map(|names| &names.value.general_names);
        names.any(|name| matches!(name, GeneralName::DirectoryName(_)))
    })
}

/// What `check` refuses of one's own identity, and is no reason to refuse a peer by its chain.
const OWN_ALONE: &[&str] = &["name_missing", "key_mismatch", "another_leaf"];

/// Those who judge, and how often what was said.
#[derive(Default)]
pub struct Fuzz {
    openssl: OpenSsl,
    go: Go,
    pub accepted: u64,
    pub stricter: u64,
}

impl Fuzz {
    /// What is wrong with the verdicts about a chain.
    pub fn faults(&mut self, case: &Case) -> Vec<String> {
        let ours = Ours::of(case);
        let (check, peer) = (ours.check(case), ours.peer(case));
        let mut faults = Vec::new();
        match (&check, &peer) {
            (Some(Ok(())), Err(why)) => faults.push(format!("served, and refused of a peer: {why}")),
            (Some(Err(why)), Ok(()))
                if !OWN_ALONE.iter().any(|own| why.starts_with(own)) && !serves_path_alone(case) =>
            {
                faults.push(format!("accepted of a peer, and not served: {why}"));
            }
            _ => {}
        }
        let alone = webpki_alone::verdict(case);
        if peer.is_err() && check.is_none_or(|check| check.is_err()) {
            self.stricter += u64::from(alone.is_ok());
            return faults;
        }
        self.accepted += 1;
        if let Err(why) = alone {
            faults.push(format!("accepted, and webpki alone refuses it: {why}"));
        }
        let mut refused = self.refused_by_others(case);
        if !refused.is_empty() {
            let others = self.refused_by_others(&without_others(case));
            refused.retain(|(who, _)| others.iter().any(|(other, _)| who == other));
        }
        faults.extend(refused.iter().map(|(who, why)| format!("accepted, and {who} refuses it: {why}")));
        faults
    }

    /// Who refuses the chain without a reason that is known, and why.
    fn refused_by_others(&mut self, case: &Case) -> Vec<(&'static str, String)> {
        let verdicts = [("OpenSSL", self.openssl.verdict(case)), ("Go", self.go.verdict(case))];
        let refused = verdicts.into_iter().filter_map(|(who, verdict)| Some((who, verdict.err()?)));
        refused.filter(|(who, why)| !LEFT.iter().any(|left| left.covers(who, why, case))).collect()
    }
}

/// The lines of our corpus.
pub fn corpus() -> Vec<Case> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("chains/corpus");
    cases(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// A chain a line; lines that begin with `#` say what the next one is.
pub fn cases(text: &str) -> anyhow::Result<Vec<Case>> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    lines.map(|(at, line)| parse(line).with_context(|| format!("line {}", at + 1))).collect()
}

/// For the corpus.
pub fn line(case: &Case) -> String {
    let base64 = |ders: &[Vec<u8>]| {
        let all: Vec<_> = ders.iter().map(|der| BASE64_STANDARD.encode(der)).collect();
        if all.is_empty() { "-".into() } else { all.join(",") }
    };
    let role = if case.role == Role::Client { "client" } else { "server" };
    let name = case.name.as_deref().unwrap_or("-");
    let (roots, intermediates) = (base64(&case.roots), base64(&case.intermediates));
    format!("{role} {name} {} {roots} {intermediates} {}", case.seconds(), BASE64_STANDARD.encode(&case.leaf))
}

fn parse(line: &str) -> anyhow::Result<Case> {
    let fields: Vec<_> = line.split(' ').collect();
    let [role, name, at, roots, intermediates, leaf] = fields[..] else {
        anyhow::bail!("six fields are a chain");
    };
    let base64 = |text: &str| -> anyhow::Result<Vec<Vec<u8>>> {
        let all = text.split(',').filter(|text| *text != "-");
        all.map(|text| Ok(BASE64_STANDARD.decode(text)?)).collect()
    };
    Ok(Case {
        id: line.to_owned(),
        role: if role == "client" { Role::Client } else { Role::Server },
        roots: base64(roots)?,
        intermediates: base64(intermediates)?,
        leaf: BASE64_STANDARD.decode(leaf)?,
        key: Some(private_key(LEAF_KEY)),
        lists: Vec::new(),
        at: UNIX_EPOCH + Duration::from_secs(at.parse()?),
        name: (name != "-").then(|| name.to_owned()),
        expected: None,
    })
}
