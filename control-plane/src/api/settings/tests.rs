use super::*;
use crate::api::leaf_request::Usage;
use crate::api::resource::{AllowedNames, CertificateAuthoritySpec, ImportSource, NameConstraints};

fn authority(change: impl FnOnce(&mut CertificateAuthoritySpec)) -> Result<AuthoritySettings, Vec<String>> {
    let mut spec = CertificateAuthoritySpec { namespaces: vec!["shop".into()], ..Default::default() };
    change(&mut spec);
    AuthoritySettings::validate("root-prod-shop", &spec, &ClusterDomain::default())
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
        let allowed =
            "no pattern of the authority's allowedNames.dnsNames allows it, nor has it anyName: true";
        assert!(wrong[0].contains(foreign[0]) && wrong[0].contains(allowed), "{wrong:#?}");
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
            AuthoritySettings::validate(name, &spec, &ClusterDomain::default()),
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

#[test]
fn the_domain_of_the_cluster_is_the_authoritys_or_the_controllers() {
    let corp: ClusterDomain = "corp.example".parse().unwrap();
    let names = |own: Option<&str>, names: Option<&[&str]>| {
        let spec = CertificateAuthoritySpec {
            namespaces: vec!["shop".into()],
            cluster_domain: own.map(str::to_owned),
            ..Default::default()
        };
        let authority = AuthoritySettings::validate("root-prod-shop", &spec, &corp)?;
        let spec = ServiceCertificateSpec {
            dns_names: names.map(|names| names.iter().map(ToString::to_string).collect()),
            ..Default::default()
        };
        let settings = CertificateSettings::validate("shop", "mtls-prod-payments", &spec, &authority)?;
        Ok::<_, Vec<String>>(settings.leaf.dns_names)
    };
    assert_eq!(names(None, None).unwrap(), ["payments.shop.svc", "payments.shop.svc.corp.example"]);
    let own = names(Some("other.example"), None).unwrap();
    assert_eq!(own, ["payments.shop.svc", "payments.shop.svc.other.example"]);
    assert!(names(None, Some(&["a.shop.svc.corp.example"])).is_ok());
    refused(
        names(None, Some(&["a.shop.svc.cluster.local"])),
        "a.shop.svc.cluster.local is not under shop.svc",
    );
    refused(names(Some("other."), None), "clusterDomain: \"other.\" is not a DNS domain");
}

#[test]
fn a_spec_may_say_what_the_name_does_not() {
    let spec = CertificateAuthoritySpec {
        namespaces: vec!["shop".into()],
        cluster: Some("prod-eu".into()),
        ..Default::default()
    };
    let authority = AuthoritySettings::validate("shop-ca", &spec, &ClusterDomain::default()).unwrap();
    let validate = |name: &str, cluster: Option<&str>, service: Option<&str>| {
        let spec = ServiceCertificateSpec {
            cluster: cluster.map(str::to_owned),
            service: service.map(str::to_owned),
            ..Default::default()
        };
        CertificateSettings::validate("shop", name, &spec, &authority)
    };
    for (name, cluster, service) in [
        ("mtls-prod-eu-payments", Some("prod-eu"), None),
        ("mtls-prod-eu-payments", None, Some("payments")),
        ("edge", None, Some("payments")),
        ("edge", Some("prod-eu"), Some("payments")),
    ] {
        let settings = validate(name, cluster, service).unwrap();
        assert_eq!(
            (settings.secret_name.as_str(), settings.leaf.common_name.as_str()),
            ("payments-tls", "payments")
        );
        assert_eq!(settings.leaf.spiffe_id.as_deref(), Some("spiffe://cluster.local/ns/shop/sa/payments"));
    }
    // What the name says alone is read as ever.
    refused(
        validate("mtls-prod-eu-payments", None, None),
        "the cluster is prod, and that of the authority is prod-eu",
    );
    refused(validate("edge", Some("prod"), Some("payments")), "cluster: it is prod");
    // Where it is published is known though the rest is wrong.
    let spec = ServiceCertificateSpec {
        service: Some("payments".into()),
        lifetime: Some("never".into()),
        ..Default::default()
    };
    assert_eq!(CertificateSettings::secret_name("edge", &spec), "payments-tls");
}

#[test]
fn patterns_of_an_authority_allow_names_beyond_the_namespace() {
    let authority = authority(|spec| {
        spec.allowed_names = Some(AllowedNames {
            dns_names: vec!["*.{namespace}.example.org".into()],
            ip_addresses: vec!["10.1.0.0/16".into()],
            spiffe_ids: vec!["spiffe://example.org/{namespace}/*".into()],
        });
    })
    .unwrap();
    let validate = |change: &dyn Fn(&mut ServiceCertificateSpec)| {
        let mut spec = ServiceCertificateSpec::default();
        change(&mut spec);
        CertificateSettings::validate("shop", "mtls-prod-payments", &spec, &authority)
    };
    let settings = validate(&|spec| {
        spec.dns_names = Some(vec!["payments.shop.svc".into(), "API.shop.example.org".into()]);
        spec.ip_addresses = Some(vec!["10.1.2.3".into(), "::ffff:10.1.2.4".into()]);
        spec.spiffe_id = Some("spiffe://example.org/shop/payments".into());
    })
    .unwrap();
    assert_eq!(settings.leaf.dns_names, ["payments.shop.svc", "api.shop.example.org"]);
    assert_eq!(
        settings.leaf.ip_addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["10.1.2.3", "10.1.2.4"]
    );
    refused(
        validate(&|spec| spec.dns_names = Some(vec!["api.bank.example.org".into()])),
        "api.bank.example.org is not under shop.svc; no pattern",
    );
    refused(
        validate(&|spec| spec.ip_addresses = Some(vec!["10.2.0.1".into()])),
        "ipAddresses: 10.2.0.1: no pattern of the authority's allowedNames.ipAddresses allows its network",
    );
    refused(
        validate(&|spec| spec.ip_addresses = Some(vec!["ten".into()])),
        "ipAddresses: \"ten\" is not an IP address",
    );
    refused(
        validate(&|spec| spec.spiffe_id = Some("spiffe://example.org/bank/payments".into())),
        "spiffeId: spiffe://example.org/bank/payments is not under",
    );
    refused(
        certificate("shop", "mtls-prod-x", |spec| spec.ip_addresses = Some(vec!["10.1.2.3".into()])),
        "10.1.2.3",
    );
}

#[test]
fn names_outside_the_constraints_of_the_root_are_refused() {
    let of = |domains: &[&str], import: bool| {
        authority(|spec| {
            spec.name_constraints = Some(NameConstraints {
                permitted_dns_domains: domains.iter().map(ToString::to_string).collect(),
            });
            spec.import = import.then(|| ImportSource { secret_name: "root".into() });
        })
    };
    let constrained = of(&["shop.svc", "shop.svc.cluster.local"], false).unwrap();
    let spec = ServiceCertificateSpec::default();
    let validate = |authority| CertificateSettings::validate("shop", "mtls-prod-payments", &spec, authority);
    assert!(validate(&constrained).is_ok());
    refused(
        validate(&of(&["shop.svc"], false).unwrap()),
        "payments.shop.svc.cluster.local is in none of the authority's nameConstraints.permittedDnsDomains, shop.svc",
    );
    refused(of(&[], false), "name at least one domain");
    for wrong in [".shop.svc", "*.shop.svc", "shop.svc.", ""] {
        refused(of(&[wrong], false), "is not a domain");
    }
    refused(of(&["shop.svc"], true), "a root that is imported has its own");
}
