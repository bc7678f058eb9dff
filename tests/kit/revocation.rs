//! Revocation lists, as OpenSSL makes them.

use std::fmt::Write as _;
use std::process::Command;

use crate::pki::{Pki, write};

/// What the root of `pki` has withdrawn, by serial number, in PEM. The next list is due after `days`, or, if that is
/// negative, was due.
pub fn list(pki: &Pki, number: u32, serials: &[&str], days: i64) -> String {
    let directory = pki.path("crl");
    std::fs::create_dir_all(&directory).unwrap();
    let mut index = String::new();
    for serial in serials {
        let even = if serial.len() % 2 == 0 { "" } else { "0" };
        writeln!(index, "R\t491231235959Z\t250101000000Z\t{even}{}\tunknown\t/CN=x", serial.to_uppercase())
            .unwrap();
    }
    let index = write(&directory.join("index"), index);
    write(&directory.join("index.attr"), "unique_subject = no\n");
    let number = write(&directory.join("number"), format!("{number:02X}\n"));
    let config = format!(
        "[ca]\ndefault_ca = a\n[a]\ndatabase = {}\ncrlnumber = {}\ndefault_md = sha256\ncrl_extensions = e\n[e]\n",
        index.display(),
        number.display()
    );
    let config = write(&directory.join("config"), config);
    let root = write(&directory.join("root.crt"), pki.roots());
    let key = write(&directory.join("root.key"), pki.root.key_pem().as_bytes());
    let mut openssl = Command::new("openssl");
    openssl.args(["ca", "-gencrl", "-config"]).arg(config).arg("-cert").arg(root).arg("-keyfile").arg(key);
    let seconds = days * 86_400;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let date = |seconds: i64| {
        let output =
            Command::new("date").args(["-u", "-d", &format!("@{seconds}"), "+%Y%m%d%H%M%SZ"]).output();
        String::from_utf8(output.unwrap().stdout).unwrap().trim().to_owned()
    };
    let now = i64::try_from(now).unwrap();
    openssl.args(["-crl_lastupdate", &date(now - 10 * 86_400), "-crl_nextupdate", &date(now + seconds)]);
    let output = openssl.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
