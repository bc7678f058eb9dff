//! All who judge a chain, and what they say of it.

use std::fmt;
use std::net::IpAddr;

use super::go::Go;
use super::openssl::OpenSsl;
use super::ours::Ours;
use super::{Case, Verdict, webpki_alone};

#[derive(Default)]
pub struct Judges {
    openssl: OpenSsl,
    go: Go,
}

/// What each says of one chain.
#[derive(Debug)]
pub struct Opinions {
    /// `hotcert-agent check`, of a chain with a key.
    pub check: Option<Verdict>,
    /// A handshake.
    pub peer: Verdict,
    pub webpki: Verdict,
    pub openssl: Verdict,
    /// `None` where there are revocation lists.
    pub go: Option<Verdict>,
}

impl Judges {
    pub fn ask(&mut self, case: &Case) -> Opinions {
        let ours = Ours::of(case);
        Opinions {
            check: ours.check(case),
            peer: ours.peer(case),
            webpki: webpki_alone::verdict(case),
            openssl: self.openssl.verdict(case),
            go: case.lists.is_empty().then(|| self.go.verdict(case)),
        }
    }
}

impl Opinions {
    /// Whether an agent serves it, or takes it from a peer.
    pub fn is_accepted(&self) -> bool {
        self.peer.is_ok() && self.check.as_ref().is_none_or(Result::is_ok)
    }

    /// One's own chain is judged in one way and a peer's in another. That a leaf has an IP address cannot be asked of
    /// `check`.
    pub fn is_inconsistent(&self, case: &Case) -> bool {
        let by_address = case.name.as_ref().is_some_and(|name| name.parse::<IpAddr>().is_ok());
        !by_address && self.check.as_ref().is_some_and(|check| check.is_ok() != self.peer.is_ok())
    }
}

impl fmt::Display for Opinions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = [
            ("check", self.check.as_ref()),
            ("peer", Some(&self.peer)),
            ("webpki", Some(&self.webpki)),
            ("OpenSSL", Some(&self.openssl)),
            ("Go", self.go.as_ref()),
        ];
        for (who, verdict) in lines {
            match verdict {
                None => {}
                Some(Ok(())) => writeln!(f, "  {who:8} accepts")?,
                Some(Err(why)) => writeln!(f, "  {who:8} refuses: {why}")?,
            }
        }
        Ok(())
    }
}
