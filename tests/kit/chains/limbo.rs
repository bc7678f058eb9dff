//! Suites in the JSON of x509-limbo (C2SP), as far as they are about what TLS peers judge.

use std::time::SystemTime;

use anyhow::Context as _;
use serde::Deserialize;
use x509_parser::pem::Pem;

use super::{Case, Role};

#[derive(Deserialize)]
struct Suite {
    testcases: Vec<Testcase>,
}

#[derive(Deserialize)]
struct Testcase {
    id: String,
    validation_kind: String,
    trusted_certs: Vec<String>,
    #[serde(default)]
    untrusted_intermediates: Vec<String>,
    peer_certificate: String,
    #[serde(default)]
    peer_certificate_key: Option<String>,
    #[serde(default)]
    crls: Vec<String>,
    #[serde(default)]
    validation_time: Option<String>,
    #[serde(default)]
    expected_peer_name: Option<PeerName>,
    expected_result: String,
}

#[derive(Deserialize)]
struct PeerName {
    value: String,
}

/// The cases of a suite.
pub fn cases(json: &[u8]) -> anyhow::Result<Vec<Case>> {
    let suite: Suite = serde_json::from_slice(json).context("not a suite in x509-limbo's form")?;
    suite.testcases.into_iter().map(case).collect()
}

fn case(case: Testcase) -> anyhow::Result<Case> {
    let id = case.id;
    let at = match case.validation_time {
        Some(time) => humantime::parse_rfc3339(&time.replace("+00:00", "Z")).context(id.clone())?,
        None => SystemTime::now(),
    };
    Ok(Case {
        role: if case.validation_kind == "CLIENT" { Role::Client } else { Role::Server },
        roots: sections(&case.trusted_certs)?,
        intermediates: sections(&case.untrusted_intermediates)?,
        leaf: sections(&[case.peer_certificate])?.pop().context("a case without a certificate")?,
        key: case.peer_certificate_key.filter(|key| !key.is_empty()),
        lists: sections(&case.crls)?,
        at,
        name: case.expected_peer_name.map(|name| name.value),
        expected: Some(case.expected_result == "SUCCESS"),
        id,
    })
}

fn sections(pem: &[String]) -> anyhow::Result<Vec<Vec<u8>>> {
    let sections = pem.iter().flat_map(|text| Pem::iter_from_buffer(text.as_bytes()));
    sections.map(|section| Ok(section?.contents)).collect()
}
