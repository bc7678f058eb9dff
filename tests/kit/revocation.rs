//! Revocation lists, as OpenSSL makes them.

use std::fmt::Write as _;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use hotcert::pki::authority::Authority;

use crate::pki::{Pki, write};

/// A list to be made.
pub struct List<'a> {
    pub number: u32,
    /// In hexadecimal, of the certificates that are revoked.
    pub serials: &'a [&'a str],
    /// From now: when it was made, and when the next one is due.
    pub seconds: (i64, i64),
    /// Lines of OpenSSL's configuration for its extensions, beside its number.
    pub extensions: &'a str,
}

/// What the root of `pki` has withdrawn, by serial number, in PEM. The next list is due after `days`, or, if that is
/// negative, was due.
pub fn list(pki: &Pki, number: u32, serials: &[&str], days: i64) -> String {
    List { number, serials, seconds: (-10 * 86_400, days * 86_400), extensions: "" }.of(pki, &pki.root)
}

impl List<'_> {
    /// In PEM. Its files are in the directory of `pki`.
    pub fn of(&self, pki: &Pki, root: &Authority) -> String {
        static LISTS: AtomicU32 = AtomicU32::new(0);
        let directory = pki.path(&format!("crl-{}", LISTS.fetch_add(1, Ordering::Relaxed)));
        std::fs::create_dir(&directory).unwrap();
        let mut index = String::new();
        for serial in self.serials {
            let even = if serial.len() % 2 == 0 { "" } else { "0" };
            let serial = serial.to_uppercase();
            writeln!(index, "R\t491231235959Z\t250101000000Z\t{even}{serial}\tunknown\t/CN=x").unwrap();
        }
        let index = write(&directory.join("index"), index);
        write(&directory.join("index.attr"), "unique_subject = no\n");
        let number = write(&directory.join("number"), format!("{:08X}\n", self.number));
        let config = format!(
            "[ca]\ndefault_ca = a\n[a]\ndatabase = {}\ncrlnumber = {}\ndefault_md = sha256\ncrl_extensions = e\n[e]\n{}\n",
            index.display(),
            number.display(),
            self.extensions
        );
        let config = write(&directory.join("config"), config);
        let certificate = write(&directory.join("root.crt"), root.certificate_pem());
        let key = write(&directory.join("root.key"), root.key_pem().as_bytes());
        let mut openssl = Command::new("openssl");
        openssl.args(["ca", "-gencrl", "-config"]).arg(config);
        openssl.arg("-cert").arg(certificate).arg("-keyfile").arg(key);
        let (from, until) = self.seconds;
        openssl.args(["-crl_lastupdate", &date(from), "-crl_nextupdate", &date(until)]);
        let output = openssl.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

/// As OpenSSL has it.
fn date(seconds_from_now: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let at = time::OffsetDateTime::from_unix_timestamp(now as i64 + seconds_from_now).unwrap();
    let (date, time) = (at.date(), at.time());
    format!(
        "{:04}{:02}{:02}{:02}{:02}{:02}Z",
        date.year(),
        u8::from(date.month()),
        date.day(),
        time.hour(),
        time.minute(),
        time.second()
    )
}
