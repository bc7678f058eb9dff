//! Chains of every kind that somebody's tool makes, good and bad, each with what is right: for a server and for a
//! client, and where OpenSSL judges otherwise, why.

mod accepted;
mod dates;
mod names;
mod openssl;
mod refused;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CidrSubnet, CustomExtension, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, KeyPair, KeyUsagePurpose, NameConstraints,
    PKCS_ECDSA_P384_SHA384, PKCS_ED25519, SanType, SerialNumber,
};
use time::OffsetDateTime;

use crate::forge::from_now;

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
    /// What the refusal says in words, if it is refused.
    pub says: Option<&'static str>,
    /// OpenSSL judges otherwise.
    pub openssl_differs: Option<&'static str>,
}

impl ChainCase {
    pub fn new(name: &'static str, chain: Vec<String>, key: String, roots: String) -> Self {
        let leaf = chain[0].clone();
        Self { name, leaf, chain, key, roots, server: None, client: None, says: None, openssl_differs: None }
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

fn permits(subtrees: Vec<GeneralSubtree>) -> Option<NameConstraints> {
    Some(NameConstraints { permitted_subtrees: subtrees, excluded_subtrees: Vec::new() })
}

fn excludes(subtrees: Vec<GeneralSubtree>) -> Option<NameConstraints> {
    Some(NameConstraints { permitted_subtrees: Vec::new(), excluded_subtrees: subtrees })
}

fn path_length(length: u8) -> IsCa {
    IsCa::Ca(BasicConstraints::Constrained(length))
}

pub fn all() -> Vec<ChainCase> {
    [accepted::cases(), names::cases(), refused::cases(), dates::cases(), openssl::cases()]
        .into_iter()
        .flatten()
        .collect()
}
