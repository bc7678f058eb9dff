//! Digests of settings: each stored version has that of the settings it was made for. If a digest changed and the
//! settings did not, every leaf of the fleet would be issued anew, and no version could be rolled back to.
//!
//! So the text under a digest is spelled out here, and depends neither on `Debug` nor on the name of a field or a variant.
//! It is that of release 0.2.0, which has to find its own digests again after a downgrade. What settings gain after that
//! is appended as ` name=value`, and only where it is not what it was before there was a choice.

use std::time::Duration;

use crate::api::leaf_request::{LeafRequest, Usage};
use crate::api::resource::ManagerRef;
use crate::digest::sha256_hex;

/// How many of its hex digits are kept.
const DIGITS: usize = 16;

pub(super) fn of_leaf(leaf: &LeafRequest) -> String {
    // A field that is added is added to the text as well, as is said above.
    let LeafRequest { common_name, dns_names, ip_addresses, spiffe_id, algorithm, lifetime, usage } = leaf;
    let spiffe_id = spiffe_id.as_ref().map_or_else(|| "None".into(), |id| format!("Some({})", quoted(id)));
    digest(&[
        quoted(common_name),
        list(dns_names.iter().map(|name| quoted(name))),
        list(ip_addresses.iter().map(ToString::to_string)),
        spiffe_id,
        algorithm.as_str().to_owned(),
        seconds(*lifetime),
        word(*usage).to_owned(),
    ])
}

pub(super) fn of_manager(manager: &ManagerRef) -> String {
    let ManagerRef { name, id } = manager;
    digest(&[quoted(name), quoted(id)])
}

fn digest(words: &[String]) -> String {
    let mut digits = sha256_hex(words.join(" ").as_bytes());
    digits.truncate(DIGITS);
    digits
}

fn word(usage: Usage) -> &'static str {
    match usage {
        Usage::ServerAndClient => "ServerAndClient",
        Usage::ServerOnly => "ServerOnly",
        Usage::ClientOnly => "ClientOnly",
    }
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

/// Of text without control characters.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// `2592000s`, `1.5s`.
fn seconds(duration: Duration) -> String {
    let (seconds, nanos) = (duration.as_secs(), duration.subsec_nanos());
    if nanos == 0 {
        return format!("{seconds}s");
    }
    let fraction = format!("{nanos:09}");
    format!("{seconds}.{}s", fraction.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::algorithm::Algorithm;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn leaf(service: &str, usage: Usage, lifetime: Duration) -> LeafRequest {
        LeafRequest {
            common_name: service.into(),
            dns_names: vec![format!("{service}.shop.svc"), format!("{service}.shop.svc.cluster.local")],
            spiffe_id: Some(format!("spiffe://cluster.local/ns/shop/sa/{service}")),
            lifetime,
            usage,
            ..LeafRequest::default()
        }
    }

    /// The first three are what a controller of release 0.2.0 stored.
    #[test]
    fn digests_are_those_that_are_stored_already() {
        let payments = || leaf("payments", Usage::ServerAndClient, 30 * DAY);
        let of_web = LeafRequest {
            dns_names: vec!["a.shop.svc".into(), "*.shop.svc".into()],
            ..leaf("web", Usage::ServerOnly, Duration::from_secs(36 * 3600))
        };
        let with = |algorithm| of_leaf(&LeafRequest { algorithm, ..payments() });
        for (digest, expected) in [
            (of_leaf(&payments()), "d37a24d3465a51e5"),
            (of_leaf(&of_web), "9228c3db5294385f"),
            (of_leaf(&leaf("x", Usage::ClientOnly, Duration::from_millis(1500))), "8b43db112dba45d2"),
            (with(Algorithm::P384), "8f1445ec0afc6d8a"),
            (with(Algorithm::Ed25519), "854ef0b374be1546"),
            (with(Algorithm::Rsa2048), "00beabd94bfb65ac"),
            (with(Algorithm::Rsa3072), "f4d16abd2dd82e3f"),
            (with(Algorithm::Rsa4096), "5b709a09a2a33635"),
            (of_leaf(&LeafRequest { spiffe_id: None, ..payments() }), "12ef071f62445b17"),
            (
                of_leaf(&LeafRequest {
                    ip_addresses: vec!["10.0.0.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
                    ..payments()
                }),
                "df66b61970fc2bca",
            ),
            (of_manager(&ManagerRef { name: "ibm".into(), id: "payments-1".into() }), "77d27c89de922e79"),
        ] {
            assert_eq!(digest, expected);
        }
    }
}
