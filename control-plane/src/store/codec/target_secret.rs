//! A target Secret: `tls.crt`, `tls.key`, `ca.crt` and `revision`.

use std::time::SystemTime;

use super::{BUNDLE, CERTIFICATE, KEY, Part, REVISION, part};
use crate::pki::x509_facts::{self, Fingerprint, Leaf};
use crate::planner::observed::{Publication, ResourceVersion};
use crate::store::Contents;

/// Without a leaf, the other two.
pub fn encode(contents: &Contents) -> Vec<Part> {
    let leaf = contents
        .leaf
        .iter()
        .flat_map(|leaf| [part(CERTIFICATE, leaf.certificate.as_bytes()), part(KEY, leaf.key.as_bytes())]);
    let revision = contents.revision.to_string();
    leaf.chain([part(BUNDLE, contents.bundle.as_bytes()), part(REVISION, revision.as_bytes())]).collect()
}

/// What is published, and its leaf if it can be read. `value`: of the part of this name; empty if there is none.
pub fn decode<'v>(
    value: impl Fn(&str) -> &'v [u8],
    resource_version: ResourceVersion,
    written_at: SystemTime,
) -> (Publication, Option<Leaf>) {
    let leaf = Leaf::read(value(CERTIFICATE));
    let revision = str::from_utf8(value(REVISION)).ok().and_then(|text| text.trim().parse().ok());
    let publication = Publication {
        resource_version,
        fingerprint: Fingerprint::of(value(CERTIFICATE), value(KEY)),
        leaf_sha256: leaf.as_ref().map(|leaf| leaf.sha256.clone()).unwrap_or_default(),
        roots: x509_facts::roots(value(BUNDLE)),
        revision: revision.unwrap_or(0),
        written_at,
    };
    (publication, leaf)
}
