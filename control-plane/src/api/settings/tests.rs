use super::*;

fn authority(change: impl FnOnce(&mut CertificateAuthoritySpec)) -> Result<AuthoritySettings, Vec<String>> {
    let mut spec = CertificateAuthoritySpec { namespaces: vec!["shop".into()], ..Default::default() };
    change(&mut spec);
    AuthoritySettings::validate("root-prod-shop", &spec)
}

fn certificate(
    namespace: &str,
    name: &str,
    change: impl FnOnce(&mut ServiceCertificateSpec),
) -> Result<CertificateSettings, Vec<String>> {
    let mut spec = ServiceCertificateSpec { authority: "root-prod-shop".into(), ..Default::default() };
    change(&mut spec);
    CertificateSettings::validate(namespace, name, &spec, &authority(|_| {}).unwrap())
}

#[track_caller]
fn refused<T: std::fmt::Debug>(judged: Result<T, Vec<String>>, said: &str) {
    let wrong = judged.unwrap_err();
    assert!(wrong.len() == 1 && wrong[0].contains(said), "{said:?} in {wrong:#?}");
}

#[test]
fn a_name_and_an_authority_are_enough() {
    let settings = certificate("shop", "mtls-prod-payments", |_| {}).unwrap();
    assert_eq!(settings.secret_name, "payments-tls");
    assert_eq!(settings.leaf.dns_names, ["payments.shop.svc", "payments.shop.svc.cluster.local"]);
    assert_eq!(settings.leaf.spiffe_id.as_deref(), Some("spiffe://cluster.local/ns/shop/sa/payments"));
    assert_eq!(settings.leaf.usage, Usage::ServerAndClient);
    assert_eq!((settings.leaf.lifetime, settings.renew_before), (30 * DAY, 10 * DAY));
    let server = certificate("shop", "server-prod-payments", |_| {}).unwrap();
    assert_eq!(server.leaf.usage, Usage::ServerOnly);
}

#[test]
fn a_namespace_speaks_for_itself_alone() {
    let names = |names: &'static [&str]| {
        certificate("shop", "mtls-prod-payments", |spec| {
            spec.dns_names = Some(names.iter().map(ToString::to_string).collect());
        })
    };
    assert!(names(&["other.shop.svc", "*.shop.svc", "a.payments.shop.svc.cluster.local"]).is_ok());
    for foreign in [
        &["payments.bank.svc"][..],
        &["payments.bankshop.svc"],
        &["shop.svc"],
        &[".shop.svc.cluster.local"],
        &["payments.shop.svc.example.com"],
        &["example.com"],
    ] {
        let wrong = names(foreign).unwrap_err();
        assert!(wrong[0].contains(foreign[0]) && wrong[0].contains("anyName"), "{wrong:#?}");
    }
    refused(
        certificate("shop", "mtls-prod-payments", |spec| {
            spec.spiffe_id = Some("spiffe://cluster.local/ns/bank/sa/payments".into());
        }),
        "spiffe://cluster.local/ns/shop/",
    );
    for (id, wrong) in [
        ("spiffe://cluster.local/ns/shop", "is not under spiffe://cluster.local/ns/shop/"),
        ("spiffe://cluster.local/ns/shopping/sa/a", "is not under spiffe://cluster.local/ns/shop/"),
        ("spiffe://cluster.local.evil/ns/shop/sa/a", "is not under spiffe://cluster.local/ns/shop/"),
        ("spiffe://cluster.local/ns/shop/../bank/sa/a", "path segment"),
        ("spiffe://cluster.local/ns/shop/", "path segment"),
        ("spiffe://Cluster.Local/ns/shop/sa/a", "upper case in its scheme or trust domain"),
    ] {
        refused(certificate("shop", "mtls-prod-payments", |spec| spec.spiffe_id = Some(id.into())), wrong);
    }
    refused(certificate("bank", "mtls-prod-payments", |_| {}), "does not allow the namespace bank");
    refused(certificate("shop", "mtls-stage-payments", |_| {}), "the cluster is stage");
    let any = authority(|spec| spec.any_name = Some(true)).unwrap();
    let spec = ServiceCertificateSpec { dns_names: Some(vec!["example.com".into()]), ..Default::default() };
    assert!(CertificateSettings::validate("shop", "mtls-prod-x", &spec, &any).is_ok());
}

#[test]
fn nonsense_is_refused_with_its_field() {
    refused(certificate("shop", "payments", |_| {}), "TYPE-CLUSTER-MICROSERVICE");
    refused(certificate("shop", "root-prod-payments", |_| {}), "has the type root");
    refused(certificate("shop", "mtls-prod-x", |spec| spec.lifetime = Some("91d".into())), "longer than");
    refused(certificate("shop", "mtls-prod-x", |spec| spec.renew_before = Some("30d".into())), "renewBefore");
    refused(
        certificate("shop", "mtls-prod-x", |spec| spec.lifetime = Some("soon".into())),
        "lifetime: \"soon\"",
    );
    refused(certificate("shop", &format!("mtls-prod-{}", "x".repeat(54)), |_| {}), "64 characters");
    refused(certificate("shop", "mtls-prod-under_score", |_| {}), "underscore");
    let spec = CertificateAuthoritySpec { namespaces: vec!["shop".into()], ..Default::default() };
    for name in ["my-root", "root-prod", "mtls-prod-shop"] {
        refused(
            AuthoritySettings::validate(name, &spec),
            "the form root-CLUSTER-NAME, such as root-prod-shop",
        );
    }
    refused(authority(|spec| spec.namespaces.clear()), "namespaces");
    refused(authority(|spec| spec.lifetime = Some("200d".into())), "too short for leaves");
    refused(authority(|spec| spec.lifetime = Some("0s".into())), "lifetime: must be longer than zero");
    let wrong = authority(|spec| {
        spec.lifetime = Some("x".into());
        spec.leaf_lifetime_max = Some("y".into());
    });
    assert_eq!(wrong.unwrap_err().len(), 2);
}
