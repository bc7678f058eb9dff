//! What the forward proxy connects to.

#![allow(clippy::unwrap_used)]

use super::*;

fn policy(allow: &[&str], deny: &[&str]) -> ProxyPolicy {
    let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    ProxyPolicy { allow: parse(allow), deny: parse(deny) }
}

fn allows(policy: &ProxyPolicy, host: &str, ip: &str) -> bool {
    policy.check(host, ip.parse::<IpAddr>().unwrap().to_canonical()).is_ok()
}

#[test]
fn addresses_that_no_other_service_has_are_refused_in_every_notation() {
    let policy = policy(&[], &[]);
    for closed in [
        "127.0.0.1",
        "127.9.9.9",
        "0.0.0.0",
        "0.1.2.3",
        "169.254.169.254",
        "169.254.170.2",
        "224.0.0.1",
        "255.255.255.255",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "::",
        "::1",
        "fe80::1",
        "febf::1",
        "ff02::1",
        "fd00:ec2::254",
        "fd20:ce::254",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
        "::ffff:0.0.0.0",
    ] {
        assert!(!allows(&policy, "a.test", closed), "{closed}");
    }
    for open in [
        "10.96.0.1",
        "172.20.1.1",
        "192.168.1.1",
        "100.64.0.1",
        "240.0.0.1",
        "1.1.1.1",
        "fd12::1",
        "2606:4700::1111",
    ] {
        assert!(allows(&policy, "a.test", open), "{open}");
    }
}

#[test]
fn what_is_denied_is_refused_unless_it_is_allowed() {
    let deny = policy(&["10.1.2.3"], &["10.0.0.0/8", "evil.test", "fd00::/8"]);
    for (host, ip, expected) in [
        ("a.test", "10.9.9.9", false),
        ("a.test", "::ffff:10.9.9.9", false),
        ("a.test", "10.1.2.3", true),
        ("evil.test", "10.1.2.3", false),
        ("a.test", "11.0.0.1", true),
        ("a.test", "fd00::1", false),
        ("evil.test", "11.0.0.1", false),
        ("www.EVIL.test.", "11.0.0.1", false),
        ("notevil.test", "11.0.0.1", true),
        ("test", "11.0.0.1", true),
    ] {
        assert_eq!(allows(&deny, host, ip), expected, "{host} at {ip}");
    }
    let allow = policy(&["127.0.0.0/8", "dev.test"], &[]);
    assert!(allows(&allow, "a.test", "127.0.0.1") && allows(&allow, "x.dev.test", "::1"));
    assert!(!allows(&allow, "a.test", "::1") && !allows(&allow, "a.test", "169.254.0.1"));
}

#[test]
fn most_specific_pattern_decides_and_of_two_that_are_the_same_the_denial() {
    let rules = policy(
        &["10.0.0.0/8", "10.1.2.3", "shop.test", "a.bad.shop.test", "127.0.0.0/8", "fd00::/8"],
        &["10.1.0.0/16", "10.1.2.3", "10.0.0.0/8", "bad.shop.test", "0.0.0.0/0", "fd00:1::/32"],
    );
    for (host, ip, expected) in [
        // Denied with the same prefix.
        ("a.test", "10.9.9.9", false),
        ("a.test", "10.1.9.9", false),
        ("a.test", "10.1.2.3", false),
        ("a.test", "11.0.0.1", false),
        ("a.test", "127.0.0.1", true),
        ("a.test", "fd00:2::1", true),
        ("a.test", "fd00:1::1", false),
        // By whatever name IPv6 has for it.
        ("a.test", "64:ff9b::b00:1", false),
        ("a.test", "64:ff9b::7f00:1", true),
        ("a.test", "2606:4700::1111", true),
        // A name decides before any network.
        ("shop.test", "10.1.2.3", true),
        ("www.shop.test", "169.254.169.254", true),
        ("bad.shop.test", "127.0.0.1", false),
        ("www.bad.shop.test.", "127.0.0.1", false),
        ("A.bad.shop.test", "11.0.0.1", true),
    ] {
        assert_eq!(allows(&rules, host, ip), expected, "{host} at {ip}");
    }
    let within = policy(&["10.0.0.0/8"], &["10.1.0.0/16"]);
    assert!(allows(&within, "a.test", "10.2.0.1") && !allows(&within, "a.test", "10.1.0.1"));
}

#[test]
fn name_that_is_denied_is_refused_before_it_is_looked_up() {
    let destinations = Destinations::of_proxy(
        Arc::new(OwnListeners::new([])),
        policy(&["good.evil.test"], &["evil.test", "10.0.0.0/8"]),
    );
    let refused = Refusal::Denied("www.evil.test".into(), DestinationPattern::Host("evil.test".into()));
    assert_eq!(destinations.check_host("www.evil.test"), Err(refused));
    for host in ["good.evil.test", "a.test", "10.0.0.1"] {
        assert_eq!(destinations.check_host(host), Ok(()), "{host}");
    }
}

#[test]
fn own_listeners_but_the_inbound_ones_are_refused_whatever_is_allowed() {
    let own = Arc::new(OwnListeners::new([
        ("--inbound", "0.0.0.0:8443".parse().unwrap()),
        ("--admin", "0.0.0.0:9640".parse().unwrap()),
    ]));
    let to =
        |destinations: &Destinations, address: &str| destinations.check("a.test", address.parse().unwrap());
    let fixed = Destinations::of_fixed_route(Arc::clone(&own));
    let proxy = Destinations::of_proxy(own, policy(&["0.0.0.0/0"], &[]));
    for destinations in [&fixed, &proxy] {
        let refused = Refusal::OwnListener("127.0.0.1:9640".parse().unwrap(), "--admin");
        assert_eq!(to(destinations, "127.0.0.1:9640"), Err(refused));
        assert_eq!(to(destinations, "127.0.0.1:8443"), Ok(()));
        assert_eq!(to(destinations, "127.0.0.1:9641"), Ok(()));
    }
}

#[test]
fn patterns_are_addresses_networks_and_hosts() {
    for (text, shown) in [
        ("10.1.2.3", "10.1.2.3/32"),
        ("::ffff:10.1.2.3", "10.1.2.3/32"),
        ("[::1]", "::1/128"),
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("fd00::/8", "fd00::/8"),
        ("*.Shop.svc", "shop.svc"),
        (".shop.svc.", "shop.svc"),
        ("localhost", "localhost"),
    ] {
        assert_eq!(text.parse::<DestinationPattern>().unwrap().to_string(), shown);
    }
    for bad in ["", "*", "10.0.0.0/33", "10.0.0", "a b", "a:80", "http://a", "a..b", "a/b", "256.1.1.1"] {
        assert_eq!(bad.parse::<DestinationPattern>(), Err(DestinationPatternError::Malformed(bad.into())));
    }
    for (bad, meant) in [
        ("10.0.0.1/8", "10.0.0.0/8 for the network, or 10.0.0.1 for"),
        ("fd00::1/8", "fd00::/8 for the network, or fd00::1 for"),
    ] {
        let error = bad.parse::<DestinationPattern>().unwrap_err().to_string();
        assert!(error.contains(meant), "{error}");
    }
}
