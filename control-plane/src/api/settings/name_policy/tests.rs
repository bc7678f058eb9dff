use super::*;
use crate::api::resource::AllowedNames;

fn list(texts: &[&str]) -> Vec<String> {
    texts.iter().map(ToString::to_string).collect()
}

fn policy(dns_names: &[&str], ip_addresses: &[&str], spiffe_ids: &[&str]) -> Result<NamePolicy, Vec<String>> {
    let allowed_names = AllowedNames {
        dns_names: list(dns_names),
        ip_addresses: list(ip_addresses),
        spiffe_ids: list(spiffe_ids),
    };
    let spec = CertificateAuthoritySpec { allowed_names: Some(allowed_names), ..Default::default() };
    let mut errors = Vec::new();
    let domain = ClusterDomain::default();
    let policy = NamePolicy::validate(&spec, domain, "prod.example".into(), &mut errors);
    if errors.is_empty() { Ok(policy) } else { Err(errors) }
}

#[test]
fn a_dns_pattern_allows_what_it_says_and_nothing_that_looks_like_it() {
    for (pattern, allowed, refused) in [
        (
            "api.example.org",
            &["api.example.org"][..],
            &[
                "xapi.example.org",
                "a.api.example.org",
                "*.example.org",
                "example.org",
                "api.example.org.evil",
            ][..],
        ),
        (
            "*.{namespace}.example.org",
            &["a.shop.example.org", "*.shop.example.org"],
            &[
                "shop.example.org",
                ".shop.example.org",
                "a.b.shop.example.org",
                "a.bank.example.org",
                "a.xshop.example.org",
                "*.example.org",
            ],
        ),
        (
            "**.{namespace}.example.org",
            &["a.shop.example.org", "a.b.shop.example.org", "*.a.shop.example.org"],
            &["shop.example.org", "a.workshop.example.org", "a.shop.example.org.evil"],
        ),
        (
            "{namespace}-api.Example.org",
            &["shop-api.example.org"],
            &["bank-api.example.org", "shop-api.example"],
        ),
        ("*.internal", &["db.internal"], &["internal", "a.db.internal", "dbinternal"]),
    ] {
        let policy = policy(&[pattern], &[], &[]).unwrap();
        for name in allowed {
            assert!(policy.allows_dns_name("shop", name), "{pattern} {name}");
        }
        for name in refused {
            assert!(!policy.allows_dns_name("shop", name), "{pattern} {name}");
        }
    }
}

#[test]
fn a_pattern_of_spiffe_ids_allows_whole_segments() {
    for (pattern, allowed, refused) in [
        (
            "spiffe://prod.example/team/{namespace}/*",
            &["spiffe://prod.example/team/shop/a"][..],
            &[
                "spiffe://prod.example/team/shop",
                "spiffe://prod.example/team/shop/a/b",
                "spiffe://prod.example/team/shopping/a",
                "spiffe://prod.example/team/bank/a",
                "spiffe://other.example/team/shop/a",
            ][..],
        ),
        (
            "spiffe://other.example/{namespace}/**",
            &["spiffe://other.example/shop/a", "spiffe://other.example/shop/a/b"],
            &["spiffe://other.example/shop", "spiffe://other.example/bank/a"],
        ),
        ("spiffe://a.b/x", &["spiffe://a.b/x"], &["spiffe://a.b/x/y", "spiffe://a.b/y"]),
    ] {
        let policy = policy(&[], &[], &[pattern]).unwrap();
        let allows = |id: &str| policy.allows_spiffe_id("shop", &id.parse().unwrap());
        for id in allowed {
            assert!(allows(id), "{pattern} {id}");
        }
        for id in refused {
            assert!(!allows(id), "{pattern} {id}");
        }
        // Its own it always has.
        assert!(
            allows("spiffe://prod.example/ns/shop/sa/a") && !allows("spiffe://prod.example/ns/bank/sa/a")
        );
    }
}

#[test]
fn an_address_is_allowed_by_its_network() {
    let policy = policy(&[], &["10.1.0.0/16", "192.0.2.7", "2001:db8::/32"], &[]).unwrap();
    for (address, expected) in [
        ("10.1.2.3", true),
        ("10.2.0.1", false),
        ("192.0.2.7", true),
        ("192.0.2.8", false),
        ("2001:db8::1", true),
        ("2001:db9::1", false),
        ("::ffff:10.1.2.3", false),
    ] {
        assert_eq!(policy.allows_address(address.parse().unwrap()), expected, "{address}");
    }
}

#[test]
fn a_pattern_that_is_none_is_refused_with_its_field_and_what_to_write() {
    for (field, text, said) in [
        ("dnsNames", "", "write a host name"),
        ("dnsNames", "*", "write a host name"),
        ("dnsNames", "**", "write a host name"),
        ("dnsNames", "*.", "write a host name"),
        ("dnsNames", "a.*.example.org", "write a host name"),
        ("dnsNames", "*a.example.org", "write a host name"),
        ("dnsNames", "example.org.", "write a host name"),
        ("dnsNames", "{name}.example.org", "another placeholder than {namespace}"),
        ("dnsNames", "{namespace.example.org", "another placeholder"),
        ("ipAddresses", "10.0.0.0/33", "write ADDRESS/BITS"),
        ("ipAddresses", "10.0.0.1/8", "write 10.0.0.0/8"),
        ("ipAddresses", "ten", "write ADDRESS/BITS"),
        ("spiffeIds", "prod.example/ns/a", "does not begin with spiffe://"),
        ("spiffeIds", "spiffe://*/ns/a", "trust domain that is not spelled out"),
        ("spiffeIds", "spiffe://{namespace}/a", "trust domain that is not spelled out"),
        ("spiffeIds", "spiffe://Prod.example/a", "trust domain that is not spelled out"),
        ("spiffeIds", "spiffe://prod.example/a*", "not a whole segment"),
        ("spiffeIds", "spiffe://prod.example/**/a", "not a whole segment"),
        ("spiffeIds", "spiffe://prod.example", "no path"),
        ("spiffeIds", "spiffe://prod.example/{ns}/a", "another placeholder"),
    ] {
        let of = |own| if own == field { vec![text] } else { Vec::new() };
        let errors = policy(&of("dnsNames"), &of("ipAddresses"), &of("spiffeIds")).unwrap_err();
        let begin = format!("allowedNames.{field}: {text:?} ");
        assert!(errors.len() == 1 && errors[0].starts_with(&begin) && errors[0].contains(said), "{errors:?}");
    }
}
