//! Which names a leaf needs, and what matches what.

use super::*;

fn with_names(names: &[&str]) -> (Root, Issued) {
    let root = root("root");
    let issued = issue(&root, |params| {
        params.subject_alt_names = dns(names);
    });
    (root, issued)
}

fn dns(names: &[&str]) -> Vec<SanType> {
    names.iter().map(|name| SanType::DnsName((*name).try_into().unwrap())).collect()
}

fn judged(names: &[&str], policy: &Policy) -> String {
    let (root, issued) = with_names(names);
    let candidate = credential(&issued.certificate, &issued.key, &root.pem());
    leaf_reason(&Identity::parse(&candidate, policy, None, now())).into()
}

#[test]
fn a_client_needs_no_name_and_a_server_does() {
    let server = Policy { serves: true, ..Policy::default() };
    assert_eq!(judged(&[], &Policy::default()), "accepted");
    assert_eq!(judged(&[], &server), "name_missing");
    let root = root("root");
    let mail = issue(&root, |params| {
        params.subject_alt_names = vec![SanType::Rfc822Name("a@shop.test".try_into().unwrap())];
    });
    let candidate = credential(&mail.certificate, &mail.key, &root.pem());
    let client = Identity::parse(&candidate, &Policy::default(), None, now());
    assert_eq!(leaf_reason(&client), "accepted");
    let refused = Identity::parse(&candidate, &server, None, now()).leaf.unwrap_err().to_string();
    assert!(refused.contains("no DNS name, URI or IP address"), "{refused}");
}

#[test]
fn names_that_cannot_be_dialled_are_no_reason_to_refuse() {
    for names in
        [&["10.1.2.3", "payments.shop.svc"][..], &["payments.shop.svc."], &["localhost.localdomain."]]
    {
        let root = crate::fixtures::root("root");
        let pair = crate::fixtures::issue(&root, |params| params.subject_alt_names = dns(names));
        let identity = crate::fixtures::identity(&pair, &[&root]);
        let tried = crate::trial_handshake(&identity, crate::ClientAuth::Require, SystemTime::now());
        assert_eq!(tried, Ok(()), "{names:?}");
    }
}

#[test]
fn an_expected_name_is_carried_by_itself_or_by_a_wildcard_for_it() {
    let expects =
        |pattern: &str| Policy { expected_names: vec![pattern.parse().unwrap()], ..Policy::default() };
    for (carried, pattern, verdict) in [
        ("payments.shop.svc", "dns:payments.shop.svc", "accepted"),
        ("PAYMENTS.Shop.svc", "dns:payments.SHOP.svc", "accepted"),
        ("*.shop.svc", "dns:payments.shop.svc", "accepted"),
        ("*.Shop.svc", "dns:payments.shop.svc", "accepted"),
        ("payments.shop.svc", "dns:*.shop.svc", "accepted"),
        ("*.shop.svc", "dns:*.shop.svc", "accepted"),
        ("*.shop.svc", "dns:a.payments.shop.svc", "name_missing"),
        ("*.shop.svc", "dns:shop.svc", "name_missing"),
        ("*.svc", "dns:payments.shop.svc", "name_missing"),
        ("*.svc", "dns:*.shop.svc", "name_missing"),
        ("*", "dns:payments", "name_missing"),
        ("pay*.shop.svc", "dns:payments.shop.svc", "name_missing"),
        ("a.payments.shop.svc", "dns:*.shop.svc", "name_missing"),
        ("shop.svc", "dns:*.shop.svc", "name_missing"),
        ("payments.shop.svc.", "dns:payments.shop.svc", "name_missing"),
        ("payments.shop.svc", "dns:other.shop.svc", "name_missing"),
        ("10.1.2.3", "dns:10.1.2.3", "accepted"),
    ] {
        assert_eq!(judged(&[carried], &expects(pattern)), verdict, "{carried} for {pattern}");
    }
    let root = root("root");
    let carries = |names: Vec<SanType>, pattern| {
        let issued = issue(&root, |params| {
            params.distinguished_name.push(rcgen::DnType::CommonName, "common.shop.svc");
            params.subject_alt_names = names;
        });
        let candidate = credential(&issued.certificate, &issued.key, &root.pem());
        leaf_reason(&Identity::parse(&candidate, &expects(pattern), None, now()))
    };
    let address = || SanType::IpAddress([10, 1, 2, 3].into());
    assert_eq!(carries(vec![address()], "dns:10.1.2.3"), "name_missing");
    assert_eq!(carries(vec![address()], "dns:common.shop.svc"), "name_missing");
    let uri = |uri: &str| SanType::URI(uri.try_into().unwrap());
    let id = "spiffe://shop/ns/a/sa/pay";
    for (uris, pattern, verdict) in [
        (&[id][..], id, "accepted"),
        (&["SPIFFE://Shop/ns/a/sa/pay"], id, "accepted"),
        (&[id], "spiffe://shop/ns/*/sa/pay", "accepted"),
        (&[id], "spiffe://shop/ns/**", "accepted"),
        (&["spiffe://shop/ns/a/sa/PAY"], id, "name_missing"),
        (&[id, "https://shop.example"], id, "name_missing"),
        (&["spiffe://shop/ns"], "spiffe://shop/ns/**", "name_missing"),
    ] {
        let names = uris.iter().map(|text| uri(text)).collect();
        assert_eq!(carries(names, pattern), verdict, "{uris:?} for {pattern}");
    }
}
