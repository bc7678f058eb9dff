//! Leaves with names of every kind.

use super::*;

pub fn cases() -> Vec<ChainCase> {
    let with = |name, extra: Vec<SanType>| Plan::new(name).names([extra, vec![dns(NAME)]].concat()).case();
    vec![
        with("an address as DNS name first", vec![dns("10.1.2.3")]),
        with("a trailing dot first", vec![dns("payments.shop.svc.")]),
        with("localhost with a dot first", vec![dns("localhost.")]),
        with("underscores", vec![dns("_payments_._tcp.shop.svc")]),
        with("punycode", vec![dns("xn--bcher-kva.example")]),
        with("a wildcard", vec![dns("*.shop.svc")]),
        with("a lone asterisk", vec![dns("*")]),
        with("an asterisk within a label", vec![dns("pay*.shop.svc")]),
        with("a single label", vec![dns("payments")]),
        with("upper case", vec![dns("PAYMENTS.Shop.SVC")]),
        with("a space", vec![dns("pay ments")]),
        with("an empty name", vec![dns("")]),
        with("several hundred names", (0..500).map(|n| dns(&format!("n{n}.shop.svc"))).collect()),
        with(
            "every other kind of name",
            vec![
                uri("spiffe://shop/ns/shop/sa/payments"),
                uri("https://shop.example/a?b#c"),
                SanType::IpAddress([10, 1, 2, 3].into()),
                SanType::IpAddress([0; 16].into()),
                SanType::Rfc822Name("a@shop.example".try_into().unwrap()),
                SanType::OtherName((vec![1, 3, 6, 1, 4, 1, 311, 20, 2, 3], "upn".into())),
            ],
        ),
        Plan::new("no names").names(Vec::new()).case().client_only("name_missing"),
        Plan::new("an address of mail alone")
            .names(vec![SanType::Rfc822Name("a@shop.example".try_into().unwrap())])
            .case()
            .client_only("name_missing"),
    ]
}
