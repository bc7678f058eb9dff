//! OpenSSL, by its command `verify`.

use std::net::IpAddr;

use tempfile::TempDir;

use super::{Case, Role, Verdict, pem};
use crate::client::command;
use crate::pki::write;

pub struct OpenSsl {
    folder: TempDir,
}

impl Default for OpenSsl {
    fn default() -> Self {
        Self { folder: TempDir::new().unwrap() }
    }
}

/// Whether it takes it for a certificate at all.
pub fn reads(der: &[u8]) -> bool {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("certificate");
    std::fs::write(&file, der).unwrap();
    let output = command("openssl").args(["x509", "-inform", "der", "-noout", "-in"]).arg(file).output();
    output.unwrap().status.success()
}

impl OpenSsl {
    pub fn verdict(&self, case: &Case) -> Verdict {
        let file = |name: &str, content: &str| write(&self.folder.path().join(name), content);
        let mut openssl = command("openssl");
        // A certificate of the bundle is trusted though it is not signed by itself, as it is for webpki and Go.
        openssl.args(["verify", "-no-CApath", "-no-CAstore", "-partial_chain", "-trusted"]);
        openssl.arg(file("roots", &pem("CERTIFICATE", &case.roots)));
        if !case.intermediates.is_empty() {
            openssl.arg("-untrusted").arg(file("intermediates", &pem("CERTIFICATE", &case.intermediates)));
        }
        if !case.lists.is_empty() {
            openssl.arg("-crl_check_all").arg("-CRLfile").arg(file("lists", &pem("X509 CRL", &case.lists)));
        }
        let purpose = if case.role == Role::Client { "sslclient" } else { "sslserver" };
        openssl.args(["-purpose", purpose, "-attime", &case.seconds().to_string()]);
        if let Some(name) = &case.name {
            let is_address = name.parse::<IpAddr>().is_ok();
            openssl.args([if is_address { "-verify_ip" } else { "-verify_hostname" }, name]);
        }
        let output = openssl.arg(file("leaf", &pem("CERTIFICATE", [&case.leaf]))).output().unwrap();
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let errors: Vec<_> = said.lines().filter(|line| line.contains(" depth lookup: ")).collect();
        Err(if errors.is_empty() { said.trim().replace('\n', "; ") } else { errors.join("; ") })
    }
}
