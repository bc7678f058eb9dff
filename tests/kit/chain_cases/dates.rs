//! Chains by the dates of their certificates.

use super::*;

const NOT_BEFORE_1970: &str = "webpki's clock begins in 1970";

pub fn cases() -> Vec<ChainCase> {
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

fn year(year: i32) -> OffsetDateTime {
    rcgen::date_time_ymd(year, 1, 1)
}
