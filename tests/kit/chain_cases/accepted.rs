//! Chains that are accepted, whatever their order and whatever is in them.

use super::*;

pub fn cases() -> Vec<ChainCase> {
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

/// A root that is certified by another, which is the one that is trusted.
fn cross_signed() -> ChainCase {
    let old = self_signed(authority("cross-signing root", &nothing()), KeyPair::generate().unwrap());
    let new = under(&old, authority("cross-signed root", &nothing()));
    let key = KeyPair::generate().unwrap();
    let leaf = leaf_params("cross-signed").signed_by(&key, &new).unwrap();
    ChainCase::new("cross-signed root", vec![leaf.pem(), new.pem()], key.serialize_pem(), old.pem())
}

fn serial(bytes: &[u8]) -> SerialNumber {
    SerialNumber::from_slice(bytes)
}
