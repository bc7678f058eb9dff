//! Chains of every kind that somebody's tool makes, good and bad, each with what is right: for a server and for a
//! client, and where OpenSSL judges otherwise, why.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CidrSubnet, CustomExtension, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, KeyPair, KeyUsagePurpose, NameConstraints,
    PKCS_ECDSA_P384_SHA384, PKCS_ED25519, SanType, SerialNumber,
};
use time::OffsetDateTime;

use crate::forge::from_now;
use crate::openssl_chain;

/// By this name servers are dialled.
pub const NAME: &str = "payments.shop.svc";

type Change = Box<dyn Fn(&mut CertificateParams)>;
type Issuer = CertifiedIssuer<'static, KeyPair>;

pub struct ChainCase {
    pub name: &'static str,
    pub leaf: String,
    /// Leaf and intermediates, in PEM, as they stand in the file.
    pub chain: Vec<String>,
    pub key: String,
    /// In PEM.
    pub roots: String,
    /// Why it is refused.
    pub server: Option<&'static str>,
    pub client: Option<&'static str>,
    /// OpenSSL judges otherwise.
    pub openssl_differs: Option<&'static str>,
}

impl ChainCase {
    pub fn new(name: &'static str, chain: Vec<String>, key: String, roots: String) -> Self {
        let leaf = chain[0].clone();
        Self { name, leaf, chain, key, roots, server: None, client: None, openssl_differs: None }
    }

    fn refused(self, reason: &'static str) -> Self {
        Self { server: Some(reason), client: Some(reason), ..self }
    }

    fn client_only(self, reason: &'static str) -> Self {
        Self { server: Some(reason), ..self }
    }

    fn server_only(self) -> Self {
        // It is an identity all the same, and cannot be a client.
        Self { client: Some("usage_missing"), ..self }
    }

    fn unlike_openssl(self, why: &'static str) -> Self {
        Self { openssl_differs: Some(why), ..self }
    }
}

/// A root, intermediates and a leaf, each as it is but for a change.
struct Plan {
    name: &'static str,
    root: Change,
    root_key: KeyPair,
    intermediates: Vec<Change>,
    leaf: Change,
}

impl Plan {
    fn new(name: &'static str) -> Self {
        let root_key = KeyPair::generate().unwrap();
        Self { name, root: nothing(), root_key, intermediates: Vec::new(), leaf: nothing() }
    }

    fn root(self, change: impl Fn(&mut CertificateParams) + 'static) -> Self {
        Self { root: Box::new(change), ..self }
    }

    fn mid(mut self, change: impl Fn(&mut CertificateParams) + 'static) -> Self {
        self.intermediates.push(Box::new(change));
        self
    }

    fn leaf(self, change: impl Fn(&mut CertificateParams) + 'static) -> Self {
        Self { leaf: Box::new(change), ..self }
    }

    fn root_key(self, root_key: KeyPair) -> Self {
        Self { root_key, ..self }
    }

    /// The certificates from the root down.
    fn issue(self) -> (Vec<String>, String) {
        let name = format!("{} root", self.name);
        let mut issuer = self_signed(authority(&name, &self.root), self.root_key);
        let mut certificates = vec![issuer.pem()];
        for (index, change) in self.intermediates.iter().enumerate() {
            issuer = under(&issuer, authority(&format!("{} {index}", self.name), change));
            certificates.push(issuer.pem());
        }
        let key = KeyPair::generate().unwrap();
        let mut params = leaf_params(self.name);
        (self.leaf)(&mut params);
        certificates.push(params.signed_by(&key, &issuer).unwrap().pem());
        (certificates, key.serialize_pem())
    }

    fn case(self) -> ChainCase {
        let name = self.name;
        let (mut certificates, key) = self.issue();
        let root = certificates.remove(0);
        certificates.reverse();
        ChainCase::new(name, certificates, key, root)
    }

    /// With its chain, leaf first, and the root in another order.
    fn arranged(self, arrange: impl FnOnce(Vec<String>, &str) -> Vec<String>) -> ChainCase {
        let case = self.case();
        let chain = arrange(case.chain, &case.roots);
        ChainCase { chain, ..case }
    }

    fn names(self, names: Vec<SanType>) -> Self {
        self.leaf(move |params| params.subject_alt_names.clone_from(&names))
    }
}

fn nothing() -> Change {
    Box::new(|_: &mut CertificateParams| ())
}

fn self_signed(params: CertificateParams, key: KeyPair) -> Issuer {
    CertifiedIssuer::self_signed(params, key).unwrap()
}

fn under(issuer: &Issuer, params: CertificateParams) -> Issuer {
    CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), issuer).unwrap()
}

fn authority(name: &str, change: &Change) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (params.not_before, params.not_after) = (from_now(-3600), from_now(86400));
    change(&mut params);
    params
}

fn leaf_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(&format!("{name} leaf"));
    params.subject_alt_names = vec![dns(NAME)];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    (params.not_before, params.not_after) = (from_now(-3600), from_now(3600));
    params
}

fn named(name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    subject
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

fn uri(name: &str) -> SanType {
    SanType::URI(name.try_into().unwrap())
}

fn year(year: i32) -> OffsetDateTime {
    rcgen::date_time_ymd(year, 1, 1)
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

fn permits(subtrees: Vec<GeneralSubtree>) -> Option<NameConstraints> {
    Some(NameConstraints { permitted_subtrees: subtrees, excluded_subtrees: Vec::new() })
}

fn excludes(subtrees: Vec<GeneralSubtree>) -> Option<NameConstraints> {
    Some(NameConstraints { permitted_subtrees: Vec::new(), excluded_subtrees: subtrees })
}

fn path_length(length: u8) -> IsCa {
    IsCa::Ca(BasicConstraints::Constrained(length))
}

const NOT_BEFORE_1970: &str = "webpki's clock begins in 1970";
const NO_POLICIES: &str = "the verifier does not process critical policies";
const NO_SUCH_CONSTRAINTS: &str =
    "the verifier cannot apply constraints of this kind, and refuses what has such names";

pub fn all() -> Vec<ChainCase> {
    [accepted(), names(), refused(), dates(), openssl_chain::cases()].into_iter().flatten().collect()
}

fn accepted() -> Vec<ChainCase> {
    let two = |name| Plan::new(name).mid(|_| ()).mid(|_| ());
    vec![
        Plan::new("plain").case(),
        Plan::new("under an intermediate").mid(|_| ()).case(),
        two("in order").case(),
        two("intermediates in another order").arranged(|c, _| vec![c[0].clone(), c[2].clone(), c[1].clone()]),
        two("leaf last").arranged(|mut c, _| {
            c.reverse();
            c
        }),
        two("everything twice").arranged(|c, _| [c.clone(), c].concat()),
        Plan::new("with the root").mid(|_| ()).arranged(|c, root| [c, vec![root.to_owned()]].concat()),
        Plan::new("with a stranger").mid(|_| ()).arranged(|mut c, _| {
            c.push(self_signed(authority("stranger", &nothing()), KeyPair::generate().unwrap()).pem());
            c
        }),
        cross_signed(),
        Plan::new("root on P-384").root_key(KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap()).case(),
        Plan::new("root of Ed25519").root_key(KeyPair::generate_for(&PKCS_ED25519).unwrap()).case(),
        Plan::new("serial of twenty bytes").leaf(|p| p.serial_number = Some(serial(&[0x7f; 20]))).case(),
        Plan::new("serial of zero").leaf(|p| p.serial_number = Some(serial(&[0]))).case(),
        Plan::new("no subject").leaf(|p| p.distinguished_name = DistinguishedName::new()).case(),
        Plan::new("no key usage in the root").root(|p| p.key_usages.clear()).case(),
        Plan::new("no usages in the leaf")
            .leaf(|p| {
                p.key_usages.clear();
                p.extended_key_usages.clear();
            })
            .case(),
        Plan::new("path length kept")
            .root(|p| p.is_ca = path_length(1))
            .mid(|p| p.is_ca = path_length(0))
            .case(),
        Plan::new("usages in an intermediate")
            .mid(|p| {
                p.extended_key_usages =
                    vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
            })
            .case(),
        Plan::new("DNS names permitted")
            .mid(|p| p.name_constraints = permits(vec![GeneralSubtree::DnsName("shop.svc".into())]))
            .case(),
        Plan::new("other names excluded")
            .mid(|p| p.name_constraints = excludes(vec![GeneralSubtree::DnsName("bank.svc".into())]))
            .case(),
        Plan::new("other addresses excluded")
            .mid(|p| {
                let net = CidrSubnet::from_v4_prefix([10, 0, 0, 0], 8);
                p.name_constraints = excludes(vec![GeneralSubtree::IpAddress(net)]);
            })
            .case(),
        Plan::new("unknown extension that is not critical")
            .leaf(|p| {
                p.custom_extensions = vec![CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0])]
            })
            .case(),
    ]
}

fn names() -> Vec<ChainCase> {
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

fn refused() -> Vec<ChainCase> {
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

fn dates() -> Vec<ChainCase> {
    let gone = |p: &mut CertificateParams| p.not_after = from_now(-60);
    let to_come = |p: &mut CertificateParams| p.not_before = from_now(1800);
    let old = |p: &mut CertificateParams| p.not_before = year(1960);
    let long = |p: &mut CertificateParams| p.not_after = year(9999);
    vec![
        Plan::new("leaf expired").leaf(gone).case().refused("expired"),
        Plan::new("intermediate expired").mid(gone).case().refused("expired"),
        Plan::new("root expired").root(gone).case().refused("expired"),
        Plan::new("leaf not valid yet").leaf(to_come).case().refused("not_yet_valid"),
        Plan::new("intermediate not valid yet").mid(to_come).case().refused("not_yet_valid"),
        Plan::new("root not valid yet").root(to_come).case().refused("not_yet_valid"),
        Plan::new("leaf of 1960")
            .leaf(old)
            .case()
            .refused("malformed_certificate")
            .unlike_openssl(NOT_BEFORE_1970),
        Plan::new("intermediate of 1960")
            .mid(old)
            .case()
            .refused("malformed_certificate")
            .unlike_openssl(NOT_BEFORE_1970),
        Plan::new("root of 1960").root(old).case(),
        Plan::new("leaf until 2050").leaf(|p| p.not_after = year(2050)).case(),
        Plan::new("leaf until 9999").leaf(long).case(),
        Plan::new("all until 9999").root(long).mid(long).leaf(long).case(),
        expired_beside_good(),
    ]
}

fn serial(bytes: &[u8]) -> SerialNumber {
    SerialNumber::from_slice(bytes)
}

/// A root that is certified by another, which is the one that is trusted.
fn cross_signed() -> ChainCase {
    let old = self_signed(authority("cross-signing root", &nothing()), KeyPair::generate().unwrap());
    let new = under(&old, authority("cross-signed root", &nothing()));
    let key = KeyPair::generate().unwrap();
    let leaf = leaf_params("cross-signed").signed_by(&key, &new).unwrap();
    ChainCase::new("cross-signed root", vec![leaf.pem(), new.pem()], key.serialize_pem(), old.pem())
}

/// The certificate of the same root that has expired stands beside the one that was issued after it.
fn expired_beside_good() -> ChainCase {
    let name = "renewed root";
    let root = self_signed(authority(name, &nothing()), KeyPair::generate().unwrap());
    let mut before = authority(name, &nothing());
    before.not_after = from_now(-60);
    let before = before.self_signed(root.key()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = leaf_params(name).signed_by(&key, &root).unwrap();
    let roots = before.pem() + &root.pem();
    ChainCase::new("expired certificate of a renewed root", vec![leaf.pem()], key.serialize_pem(), roots)
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
