//! Which names an authority signs: those of the certificate's own namespace; those that a pattern of the authority allows
//! besides; or any. Patterns are given by whoever may write authorities, names by whoever may write certificates in a
//! namespace, so that a pattern allows what it says and nothing that only looks like it.

use std::net::IpAddr;

use hotcert_tls::SpiffeId;
use ipnet::IpNet;
use rustls_pki_types::DnsName;

use super::ClusterDomain;
use crate::api::leaf_request::LeafRequest;
use crate::api::resource::CertificateAuthoritySpec;

/// In a pattern, the namespace of the certificate.
const NAMESPACE: &str = "{namespace}";

/// The names that an authority signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamePolicy {
    any: bool,
    cluster_domain: ClusterDomain,
    trust_domain: String,
    dns_names: Vec<DnsPattern>,
    ip_addresses: Vec<IpNet>,
    spiffe_ids: Vec<SpiffePattern>,
}

/// Of DNS names: `{namespace}.example.org`, `*.{namespace}.example.org` (one label more), `**.{namespace}.example.org`
/// (one or more).
#[derive(Clone, Debug, PartialEq, Eq)]
struct DnsPattern {
    below: Below,
    /// In lower case, with the placeholder.
    domain: String,
}

/// How many labels, or segments, follow what a pattern spells out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Below {
    None,
    One,
    OneOrMore,
}

/// Of SPIFFE IDs: `*` is one segment of the path, `**` at its end one or more.
#[derive(Clone, Debug, PartialEq, Eq)]
struct SpiffePattern {
    trust_domain: String,
    /// With placeholders, and `*` where any will do.
    segments: Vec<String>,
    below: Below,
}

impl NamePolicy {
    pub fn validate(
        spec: &CertificateAuthoritySpec,
        cluster_domain: ClusterDomain,
        trust_domain: String,
        errors: &mut Vec<String>,
    ) -> Self {
        let allowed = spec.allowed_names.clone().unwrap_or_default();
        Self {
            any: spec.any_name.unwrap_or(false),
            cluster_domain,
            trust_domain,
            dns_names: patterns("dnsNames", &allowed.dns_names, DnsPattern::parse, errors),
            ip_addresses: patterns("ipAddresses", &allowed.ip_addresses, parse_network, errors),
            spiffe_ids: patterns("spiffeIds", &allowed.spiffe_ids, SpiffePattern::parse, errors),
        }
    }

    /// An error for each name that a certificate in this namespace may not have.
    pub fn check(&self, namespace: &str, leaf: &LeafRequest, errors: &mut Vec<String>) {
        if self.any {
            return;
        }
        for name in leaf.dns_names.iter().filter(|name| !self.allows_dns_name(namespace, name)) {
            errors.push(format!(
                "dnsNames: {name} is not under {namespace}.svc; {}",
                not_allowed("dnsNames", "it")
            ));
        }
        for address in leaf.ip_addresses.iter().filter(|address| !self.allows_address(**address)) {
            errors.push(format!("ipAddresses: {address}: {}", not_allowed("ipAddresses", "its network")));
        }
        // What is no SPIFFE ID is refused with what is wrong with it.
        for id in leaf.spiffe_id.iter().filter_map(|id| id.parse::<SpiffeId>().ok()) {
            if !self.allows_spiffe_id(namespace, &id) {
                errors.push(format!(
                    "spiffeId: {} is not under spiffe://{}/ns/{namespace}/; {}",
                    id.as_str(),
                    self.trust_domain,
                    not_allowed("spiffeIds", "it")
                ));
            }
        }
    }

    fn allows_dns_name(&self, namespace: &str, name: &str) -> bool {
        let host = self.cluster_domain.strip(name).unwrap_or(name);
        let service = host.strip_suffix(".svc").and_then(|host| host.strip_suffix(namespace));
        service.and_then(|host| host.strip_suffix('.')).is_some_and(|service| !service.is_empty())
            || self.dns_names.iter().any(|pattern| pattern.allows(namespace, name))
    }

    fn allows_address(&self, address: IpAddr) -> bool {
        self.ip_addresses.iter().any(|network| network.contains(&address))
    }

    fn allows_spiffe_id(&self, namespace: &str, id: &SpiffeId) -> bool {
        let mut path = id.segments();
        let is_own = id.trust_domain() == self.trust_domain
            && path.by_ref().take(2).eq(["ns", namespace])
            && path.next().is_some();
        is_own || self.spiffe_ids.iter().any(|pattern| pattern.allows(namespace, id))
    }
}

fn not_allowed(field: &str, what: &str) -> String {
    format!("no pattern of the authority's allowedNames.{field} allows {what}, nor has it anyName: true")
}

fn patterns<T>(
    field: &str,
    texts: &[String],
    parse: impl Fn(&str) -> Result<T, String>,
    errors: &mut Vec<String>,
) -> Vec<T> {
    let mut parsed = Vec::new();
    for text in texts {
        match parse(text) {
            Ok(pattern) => parsed.push(pattern),
            Err(problem) => errors.push(format!("allowedNames.{field}: {text:?} {problem}")),
        }
    }
    parsed
}

impl DnsPattern {
    fn parse(text: &str) -> Result<Self, String> {
        let (below, domain) = match text.split_once('.') {
            Some(("*", domain)) => (Below::One, domain),
            Some(("**", domain)) => (Below::OneOrMore, domain),
            _ => (Below::None, text),
        };
        let domain = domain.to_ascii_lowercase();
        check_placeholder(&domain)?;
        // Any namespace makes a valid name of it.
        let example = domain.replace(NAMESPACE, "n");
        if DnsName::try_from(example.as_str()).is_err() || example.ends_with('.') {
            return Err("is not a pattern of DNS names: write a host name such as api.example.org, *.NAME for one \
                        label more, **.NAME for one or more; {namespace} stands for the certificate's namespace"
                .into());
        }
        Ok(Self { below, domain })
    }

    /// `name` is in lower case. A wildcard certificate is allowed where each name that it stands for is.
    fn allows(&self, namespace: &str, name: &str) -> bool {
        let domain = self.domain.replace(NAMESPACE, namespace);
        let labels = name.strip_suffix(&domain).and_then(|labels| labels.strip_suffix('.'));
        match self.below {
            Below::None => name == domain,
            Below::One => labels.is_some_and(|label| !label.is_empty() && !label.contains('.')),
            Below::OneOrMore => labels.is_some_and(|labels| !labels.is_empty()),
        }
    }
}

impl SpiffePattern {
    fn parse(text: &str) -> Result<Self, String> {
        check_placeholder(text)?;
        let example = text.replace(NAMESPACE, "n").replace('*', "x");
        let id: SpiffeId = example.parse().map_err(|error| format!("{error}"))?;
        let pattern = text.strip_prefix("spiffe://").and_then(|rest| rest.split_once('/'));
        let Some((trust_domain, path)) = pattern.filter(|(domain, _)| *domain == id.trust_domain()) else {
            return Err(
                "has a trust domain that is not spelled out in lower case: write spiffe://DOMAIN/PATH".into(),
            );
        };
        let mut segments: Vec<_> = path.split('/').map(str::to_owned).collect();
        let below = if segments.last().is_some_and(|last| last == "**") {
            segments.pop();
            Below::OneOrMore
        } else {
            Below::None
        };
        if segments.iter().any(|segment| segment != "*" && segment.contains('*')) {
            return Err(
                "has a * that is not a whole segment: * is one segment, ** at the end one or more".into()
            );
        }
        Ok(Self { trust_domain: trust_domain.to_owned(), segments, below })
    }

    fn allows(&self, namespace: &str, id: &SpiffeId) -> bool {
        let mut path = id.segments();
        let is_segment = |pattern: &String| {
            path.next()
                .is_some_and(|segment| pattern == "*" || pattern.replace(NAMESPACE, namespace) == segment)
        };
        id.trust_domain() == self.trust_domain
            && self.segments.iter().all(is_segment)
            && path.next().is_some() == (self.below == Below::OneOrMore)
    }
}

fn check_placeholder(text: &str) -> Result<(), String> {
    if text.replace(NAMESPACE, "").contains(['{', '}']) {
        return Err("has another placeholder than {namespace}, the only one that there is".into());
    }
    Ok(())
}

/// A network, or one address.
fn parse_network(text: &str) -> Result<IpNet, String> {
    let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    let network =
        network.map_err(|_| "is not a network: write ADDRESS/BITS, such as 10.0.0.0/8".to_owned())?;
    if network.addr() != network.network() {
        return Err(format!("has bits beyond its length: write {}", network.trunc()));
    }
    Ok(network)
}

#[cfg(test)]
mod tests;
