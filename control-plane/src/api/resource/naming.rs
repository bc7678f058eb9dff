//! Names of the form TYPE-CLUSTER-MICROSERVICE, which say what a certificate is for. The name of a cluster has no
//! hyphen, that of a microservice may.

use std::fmt;
use std::str::FromStr;

use crate::api::leaf_request::Usage;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Naming {
    pub kind: Kind,
    pub cluster: String,
    pub microservice: String,
}

/// The first part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A certificate authority.
    Root,
    /// A leaf for both directions.
    Mtls,
    Server,
    Client,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is not of the form TYPE-CLUSTER-MICROSERVICE: {problem}")]
pub struct NamingError {
    pub name: String,
    pub problem: &'static str,
}

impl Kind {
    /// `None` for a root.
    pub fn usage(self) -> Option<Usage> {
        match self {
            Self::Root => None,
            Self::Mtls => Some(Usage::ServerAndClient),
            Self::Server => Some(Usage::ServerOnly),
            Self::Client => Some(Usage::ClientOnly),
        }
    }
}

impl FromStr for Naming {
    type Err = NamingError;

    fn from_str(name: &str) -> Result<Self, NamingError> {
        let wrong = |problem| NamingError { name: name.to_owned(), problem };
        let mut parts = name.splitn(3, '-');
        let kind = match parts.next() {
            Some("root") => Kind::Root,
            Some("mtls") => Kind::Mtls,
            Some("server") => Kind::Server,
            Some("client") => Kind::Client,
            _ => return Err(wrong("write mtls, server or client first, or root for an authority")),
        };
        match (parts.next(), parts.next()) {
            (Some(cluster), Some(microservice)) if !cluster.is_empty() && !microservice.is_empty() => {
                Ok(Self { kind, cluster: cluster.to_owned(), microservice: microservice.to_owned() })
            }
            _ => Err(wrong("write all three parts, separated by hyphens, such as mtls-prod-payments")),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Root => "root",
            Self::Mtls => "mtls",
            Self::Server => "server",
            Self::Client => "client",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_they_are_for() {
        let naming: Naming = "mtls-prod-card-payments".parse().unwrap();
        assert_eq!(naming.kind, Kind::Mtls);
        assert_eq!((naming.cluster.as_str(), naming.microservice.as_str()), ("prod", "card-payments"));
        for wrong in ["payments", "mtls-prod", "mtls--x", "mtls-prod-", "tls-prod-payments", ""] {
            assert_eq!(wrong.parse::<Naming>().unwrap_err().name, wrong);
        }
    }
}
