//! The certificate of the secret: one that is given, or one that is made under a root of its own, whose key is dropped.

use std::time::{Duration, SystemTime};

use zeroize::Zeroizing;

use super::args::SetupIbmArgs;
use super::files::read;
use crate::api::leaf_request::LeafRequest;
use crate::pki::authority::{Authority, AuthorityRequest};

const MADE_FOR: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// Where the certificate of the secret comes from.
pub enum Certificate {
    Given(CertificatePem),
    Made { dns_name: String },
}

pub struct CertificatePem {
    pub certificate: String,
    pub intermediate: Option<String>,
    pub private_key: Zeroizing<String>,
    /// Of one that is made.
    pub root: Option<String>,
}

impl Certificate {
    pub fn of(args: &SetupIbmArgs) -> Result<Self, String> {
        let (Some(certificate), Some(key)) = (&args.certificate, &args.private_key) else {
            let made = Self::Made { dns_name: args.dns_name.clone() };
            // A name that no certificate can have is a mistake of the arguments.
            made.pem("check").map_err(|error| format!("--dns-name: {error}"))?;
            return Ok(made);
        };
        let certificate = read(certificate)?.to_string();
        let intermediate = match &args.intermediate {
            Some(path) => Some(read(path)?.to_string()),
            None => None,
        };
        for (flag, text) in [("--certificate", Some(&certificate)), ("--intermediate", intermediate.as_ref())]
        {
            if text.is_some_and(|text| !text.contains("-----BEGIN CERTIFICATE-----")) {
                return Err(format!("{flag}: the file has no certificate in PEM"));
            }
        }
        let private_key = read(key)?;
        if !private_key.contains("PRIVATE KEY-----") {
            return Err("--private-key: the file has no private key in PEM".into());
        }
        Ok(Self::Given(CertificatePem { certificate, intermediate, private_key, root: None }))
    }

    pub fn is_made(&self) -> bool {
        matches!(self, Self::Made { .. })
    }

    /// `name`: the common name of one that is made.
    pub fn pem(&self, name: &str) -> Result<CertificatePem, String> {
        let dns_name = match self {
            Self::Given(CertificatePem { certificate, intermediate, private_key, .. }) => {
                return Ok(CertificatePem {
                    certificate: certificate.clone(),
                    intermediate: intermediate.clone(),
                    private_key: private_key.clone(),
                    root: None,
                });
            }
            Self::Made { dns_name } => dns_name,
        };
        let (now, common_name) = (SystemTime::now(), name.chars().take(64).collect::<String>());
        let request =
            AuthorityRequest { common_name: common_name.clone(), lifetime: MADE_FOR, ..Default::default() };
        let root = Authority::create(&request, now).map_err(|error| error.to_string())?;
        let request = LeafRequest {
            common_name,
            dns_names: vec![dns_name.clone()],
            lifetime: MADE_FOR,
            ..LeafRequest::default()
        };
        let leaf = root.issue(&request, now).map_err(|error| error.to_string())?;
        Ok(CertificatePem {
            certificate: leaf.certificate_pem,
            intermediate: None,
            private_key: leaf.key_pem,
            root: Some(root.certificate_pem().to_owned()),
        })
    }

    /// For a dry run, which makes none.
    pub fn placeholder(&self) -> CertificatePem {
        let given = match self {
            Self::Given(given) => given,
            Self::Made { .. } => {
                return CertificatePem {
                    certificate: "{certificate}".into(),
                    intermediate: None,
                    private_key: Zeroizing::default(),
                    root: None,
                };
            }
        };
        CertificatePem {
            certificate: given.certificate.clone(),
            intermediate: given.intermediate.clone(),
            private_key: Zeroizing::default(),
            root: None,
        }
    }
}
