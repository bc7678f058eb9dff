//! Chains that are refused for what their certificates say, or for what is missing.

use super::*;

const NO_POLICIES: &str = "the verifier does not process critical policies";
const NO_SUCH_CONSTRAINTS: &str =
    "the verifier cannot apply constraints of this kind, and refuses what has such names";

pub fn cases() -> Vec<ChainCase> {
    let usage = |usage: ExtendedKeyUsagePurpose| {
        move |p: &mut CertificateParams| p.extended_key_usages = vec![usage.clone()]
    };
    let shop = || uri("spiffe://shop/a");
    vec![
        Plan::new("intermediate without keyCertSign")
            .mid(|p| p.key_usages = vec![KeyUsagePurpose::CrlSign])
            .case()
            .refused("issuer_not_allowed"),
        Plan::new("root without keyCertSign")
            .root(|p| p.key_usages = vec![KeyUsagePurpose::CrlSign])
            .case()
            .refused("empty_bundle"),
        Plan::new("intermediate that is no authority")
            .mid(|p| p.is_ca = IsCa::ExplicitNoCa)
            .case()
            .refused("chain_broken"),
        Plan::new("root that is no authority")
            .root(|p| p.is_ca = IsCa::ExplicitNoCa)
            .case()
            .refused("empty_bundle"),
        Plan::new("path length of the root")
            .root(|p| p.is_ca = path_length(0))
            .mid(|_| ())
            .case()
            .refused("issuer_not_allowed"),
        Plan::new("path length of an intermediate")
            .mid(|p| p.is_ca = path_length(0))
            .mid(|_| ())
            .case()
            .refused("issuer_not_allowed"),
        Plan::new("root for mail")
            .root(usage(ExtendedKeyUsagePurpose::EmailProtection))
            .case()
            .refused("usage_missing"),
        Plan::new("intermediate for mail")
            .mid(usage(ExtendedKeyUsagePurpose::EmailProtection))
            .case()
            .refused("usage_missing"),
        Plan::new("leaf for code")
            .leaf(usage(ExtendedKeyUsagePurpose::CodeSigning))
            .case()
            .refused("usage_missing"),
        Plan::new("leaf for any usage")
            .leaf(usage(ExtendedKeyUsagePurpose::Any))
            .case()
            .refused("usage_missing"),
        Plan::new("leaf for servers").leaf(usage(ExtendedKeyUsagePurpose::ServerAuth)).case().server_only(),
        Plan::new("leaf for clients")
            .leaf(usage(ExtendedKeyUsagePurpose::ClientAuth))
            .case()
            .client_only("usage_missing"),
        Plan::new("intermediate for servers")
            .mid(usage(ExtendedKeyUsagePurpose::ServerAuth))
            .case()
            .server_only(),
        Plan::new("root for servers").root(usage(ExtendedKeyUsagePurpose::ServerAuth)).case().server_only(),
        Plan::new("key usage of the leaf")
            .leaf(|p| p.key_usages = vec![KeyUsagePurpose::CrlSign])
            .case()
            .refused("usage_missing"),
        Plan::new("leaf is an authority")
            .leaf(|p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained))
            .case()
            .refused("malformed_certificate")
            .unlike_openssl("an authority's certificate in place of a leaf is refused by webpki alone"),
        Plan::new("name outside of what is permitted")
            .mid(|p| p.name_constraints = permits(vec![GeneralSubtree::DnsName("bank.svc".into())]))
            .case()
            .refused("untrusted_by_own_bundle"),
        Plan::new("excluded name")
            .mid(|p| p.name_constraints = excludes(vec![GeneralSubtree::DnsName("shop.svc".into())]))
            .case()
            .refused("untrusted_by_own_bundle"),
        Plan::new("URI constraint that is kept")
            .mid(|p| p.custom_extensions = vec![constrained(true, b"\x86\x04shop")])
            .names(vec![shop(), dns(NAME)])
            .case()
            .refused("not_supported")
            .unlike_openssl(NO_SUCH_CONSTRAINTS),
        Plan::new("URI constraint that is not kept")
            .mid(|p| p.custom_extensions = vec![constrained(false, b"\x86\x04shop")])
            .names(vec![shop(), dns(NAME)])
            .case()
            .refused("not_supported"),
        Plan::new("URI constraint of a root")
            .root(|p| p.custom_extensions = vec![constrained(true, b"\x86\x04shop")])
            .names(vec![shop(), dns(NAME)])
            .case()
            .refused("not_supported")
            .unlike_openssl(NO_SUCH_CONSTRAINTS),
        directory_names("directory name that is permitted", true).unlike_openssl(NO_SUCH_CONSTRAINTS),
        directory_names("directory name that is excluded", false),
        Plan::new("intermediate that inhibits anyPolicy")
            .mid(|p| p.custom_extensions = vec![critical(&[2, 5, 29, 54], &[2, 1, 0])])
            .case()
            .refused("not_supported")
            .unlike_openssl(NO_POLICIES),
        Plan::new("unknown critical extension of the leaf")
            .leaf(|p| p.custom_extensions = vec![critical(&[1, 2, 3, 4], &[5, 0])])
            .case()
            .refused("not_supported"),
        Plan::new("unknown critical extension of an intermediate")
            .mid(|p| p.custom_extensions = vec![critical(&[1, 2, 3, 4], &[5, 0])])
            .case()
            .refused("not_supported"),
        Plan::new("intermediate missing")
            .mid(|_| ())
            .arranged(|c, _| c[..1].to_vec())
            .refused("untrusted_by_own_bundle"),
        Plan::new("upper intermediate missing")
            .mid(|_| ())
            .mid(|_| ())
            .arranged(|c, _| c[..2].to_vec())
            .refused("untrusted_by_own_bundle"),
        Plan::new("another intermediate")
            .mid(|_| ())
            .arranged(|c, _| {
                let (other, _) = Plan::new("other").mid(|_| ()).issue();
                vec![c[0].clone(), other[1].clone()]
            })
            .refused("chain_broken"),
        impostor("root of the same name", false).refused("untrusted_by_own_bundle"),
        impostor("intermediate of the same name", true).refused("chain_broken"),
    ]
}

/// What another of the same name has signed.
fn impostor(name: &'static str, intermediate: bool) -> ChainCase {
    let root = |name| self_signed(authority(name, &nothing()), KeyPair::generate().unwrap());
    let (real, key) = (root(name), KeyPair::generate().unwrap());
    let sign = |by: &Issuer| leaf_params(name).signed_by(&key, by).unwrap().pem();
    let chain = match intermediate {
        false => vec![sign(&root(name))],
        true => {
            let named = |name: &'static str| under(&real, authority(name, &nothing()));
            vec![sign(&named("impostor between")), named("impostor between").pem()]
        }
    };
    ChainCase::new(name, chain, key.serialize_pem(), real.pem())
}

fn directory_names(name: &'static str, permitted: bool) -> ChainCase {
    let case = Plan::new(name).mid(move |params| {
        let mut shop = DistinguishedName::new();
        shop.push(DnType::OrganizationName, "shop");
        let subtrees = vec![GeneralSubtree::DirectoryName(shop)];
        params.name_constraints = if permitted { permits(subtrees) } else { excludes(subtrees) };
    });
    let case = case.leaf(move |params| {
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "shop");
        params.distinguished_name.push(DnType::CommonName, name);
    });
    case.case().refused("not_supported")
}

fn critical(oid: &[u64], content: &[u8]) -> CustomExtension {
    let mut extension = CustomExtension::from_oid_content(oid, content.to_vec());
    extension.set_criticality(true);
    extension
}

/// An extension of constraints on names: `permits` or not this general name in DER.
fn constrained(permits: bool, name: &[u8]) -> CustomExtension {
    let within = |tag: u8, content: &[u8]| [&[tag, content.len() as u8], content].concat();
    let subtrees = within(if permits { 0xa0 } else { 0xa1 }, &within(0x30, name));
    critical(&[2, 5, 29, 30], &within(0x30, &subtrees))
}
