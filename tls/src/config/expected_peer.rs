//! The server that a client expects, by names in its certificate.

use std::fmt;
use std::str::FromStr;

use rustls::client::verify_server_name;
use rustls::pki_types::ServerName;
use rustls::server::ParsedCertificate;

use crate::names::Names;
use crate::spiffe_id::{self, SpiffeId, SpiffeIdError};

/// The server that a client expects, by names in its certificate. As text: a DNS name, an IP address or a SPIFFE ID,
/// which may be written `dns:NAME` and `ip:ADDRESS`; several are separated by `+`, and the server has one of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ExpectedPeer {
    /// A DNS name or an IP address, matched as HTTPS clients do.
    Name(ServerName<'static>),
    /// A SPIFFE ID.
    Spiffe(SpiffeId),
    /// One of several.
    Any(Vec<ExpectedPeer>),
}

/// The text is neither a server name nor a SPIFFE ID.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpectedPeerError {
    /// It is neither of the three.
    #[error("{0:?} is not a server name: write a DNS name, an IP address or spiffe://DOMAIN/PATH")]
    Name(String),
    /// It begins as a SPIFFE ID.
    #[error("{0:?} is not a SPIFFE ID: it {1}")]
    Spiffe(String, SpiffeIdError),
}

impl ExpectedPeer {
    /// The server that has this SPIFFE ID, such as `spiffe://shop/ns/shop/sa/ledger`.
    pub fn spiffe(id: &str) -> Result<Self, ExpectedPeerError> {
        id.parse().map(Self::Spiffe).map_err(|cause| ExpectedPeerError::Spiffe(id.to_owned(), cause))
    }

    /// The server whose certificate is valid for this DNS name or IP address, as HTTPS clients have it.
    pub fn name(name: &str) -> Result<Self, ExpectedPeerError> {
        let name = ServerName::try_from(name).map_err(|_| ExpectedPeerError::Name(name.to_owned()))?;
        Ok(Self::Name(name.to_owned()))
    }

    /// Whether the certificate, whose names are `shown`, has an expected name.
    pub(super) fn accepts(&self, certificate: &ParsedCertificate<'_>, shown: &Names) -> bool {
        match self {
            Self::Name(name) => verify_server_name(certificate, name).is_ok(),
            Self::Spiffe(id) => shown.spiffe_id().as_ref() == Some(id),
            Self::Any(several) => several.iter().any(|one| one.accepts(certificate, shown)),
        }
    }
}

impl FromStr for ExpectedPeer {
    type Err = ExpectedPeerError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.contains('+') {
            true => text.split('+').map(parse_one).collect::<Result<_, _>>().map(Self::Any),
            false => parse_one(text),
        }
    }
}

fn parse_one(text: &str) -> Result<ExpectedPeer, ExpectedPeerError> {
    if spiffe_id::has_scheme(text) {
        return ExpectedPeer::spiffe(text);
    }
    let (name, is_kind): (_, fn(&ServerName<'_>) -> bool) =
        match (text.strip_prefix("dns:"), text.strip_prefix("ip:")) {
            (Some(name), _) => (name, |name| matches!(name, ServerName::DnsName(_))),
            (_, Some(name)) => (name, |name| matches!(name, ServerName::IpAddress(_))),
            (None, None) => (text, |_| true),
        };
    match ExpectedPeer::name(name) {
        Ok(ExpectedPeer::Name(name)) if is_kind(&name) => Ok(ExpectedPeer::Name(name)),
        _ => Err(ExpectedPeerError::Name(text.to_owned())),
    }
}

impl fmt::Display for ExpectedPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(&name.to_str()),
            Self::Spiffe(id) => id.fmt(f),
            Self::Any(several) => {
                for (index, one) in several.iter().enumerate() {
                    write!(f, "{}{one}", if index > 0 { "+" } else { "" })?;
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn expected_servers_are_parsed_by_their_form() {
        let parse = |text: &str| text.parse::<ExpectedPeer>().unwrap();
        for text in ["a.b", "dns:a.b"] {
            assert_eq!(parse(text), ExpectedPeer::name("a.b").unwrap(), "{text}");
        }
        for text in ["10.0.0.1", "ip:10.0.0.1"] {
            assert!(matches!(parse(text), ExpectedPeer::Name(ServerName::IpAddress(_))), "{text}");
        }
        // The same identity, however it is written.
        assert_eq!(parse("SPIFFE://D/a"), ExpectedPeer::spiffe("spiffe://d/a").unwrap());
        assert_eq!(
            parse("dns:a.b+spiffe://d/a+::1"),
            ExpectedPeer::Any(vec![parse("a.b"), parse("spiffe://d/a"), parse("::1")])
        );
        for text in ["a.b", "10.0.0.1", "::1", "spiffe://d/a", "a.b+spiffe://d/a"] {
            assert_eq!(parse(text).to_string(), text);
        }
    }

    #[test]
    fn what_is_no_name_is_refused_with_the_name() {
        for (text, refused) in [
            ("", ""),
            ("a b", "a b"),
            ("dns:10.0.0.1", "dns:10.0.0.1"),
            ("dns:", "dns:"),
            ("ip:a.b", "ip:a.b"),
            ("a.b+", ""),
            ("a.b++c.d", ""),
            ("+", ""),
        ] {
            assert_eq!(text.parse::<ExpectedPeer>(), Err(ExpectedPeerError::Name(refused.into())));
        }
        for (text, cause) in [
            ("spiffe://", SpiffeIdError::NoTrustDomain),
            ("spiffe://d", SpiffeIdError::NoPath),
            ("spiffe://d/*", SpiffeIdError::Path),
            ("spiffe://d/a/", SpiffeIdError::Segment),
        ] {
            assert_eq!(
                format!("a.b+{text}").parse::<ExpectedPeer>(),
                Err(ExpectedPeerError::Spiffe(text.into(), cause))
            );
        }
    }
}
