//! Rolling a certificate back to an earlier version: which one, and why it may be refused. A rollback
//! makes a new version with the old leaf, so the newest version is always the one to be served.

use super::certificate::{CertificateState, renew_at_latest};
use super::observed::{Request, Version};
use super::plan::Action;
use crate::api::date;
use crate::api::request;

impl CertificateState<'_> {
    /// `spec_digest`: of the present spec; `check_trust`: why that version is not trusted today. An error is
    /// the id of the request and why it is refused.
    pub fn rollback(
        &self,
        spec_digest: &str,
        check_trust: impl Fn(u64, &Version) -> Result<(), String>,
    ) -> Option<Result<Action, (String, String)>> {
        let Request { id, arguments } = self.open_request(request::ROLLBACK)?;
        let refuse = |why: String| Some(Err((id.clone(), why)));
        let requested = arguments.split_whitespace().find_map(|word| word.strip_prefix("to="));
        let to = match requested.map(|text| (text, text.parse::<u64>())) {
            Some((_, Ok(number))) => number,
            Some((text, Err(_))) => return refuse(format!("{text:?} is not a version number")),
            None => match self.previous() {
                Some(number) => number,
                None => return refuse("there is no version before the one that is served".into()),
            },
        };
        let Some(version) = self.certificate.versions.get(&to) else {
            let stored: Vec<_> = self.certificate.versions.keys().map(ToString::to_string).collect();
            return refuse(format!("version {to} is not kept; kept versions: {}", stored.join(", ")));
        };
        let end = version.leaf.not_after;
        if self.now >= end {
            return refuse(format!("version {to} expired at {}", date::seconds(end)));
        }
        if self.now >= renew_at_latest(version) {
            return refuse(format!("version {to} expires at {}, too soon", date::seconds(end)));
        }
        if let Err(why) = check_trust(to, version) {
            return refuse(why);
        }
        if version.spec_digest != spec_digest {
            return refuse(format!("version {to} was made for another spec: change the spec back as well"));
        }
        // Last: what was said before may be the reason why it has none.
        if !version.has_key {
            return refuse(format!(
                "version {to} has no key any more: spec.rollbackVersions says of how many versions it is kept"
            ));
        }
        Some(Ok(Action::RollBack {
            certificate: self.name.clone(),
            version: self.next_version(),
            to,
            bundle_from: version.own_bundle.as_ref().and_then(|_| {
                let (newest, version) = self.certificate.newest()?;
                version.own_bundle.is_some().then_some(newest)
            }),
            request: id.clone(),
        }))
    }

    /// The version before the one that is served, or before the one that it is a copy of.
    fn previous(&self) -> Option<u64> {
        let (mut number, served) = self.certificate.newest()?;
        // A copy may have been made of a copy.
        let original =
            |number: &u64| self.certificate.versions.get(number).and_then(|version| version.copy_of);
        while let Some(before) = original(&number).filter(|before| *before < number) {
            number = before;
        }
        let is_other =
            |candidate: &Version| candidate.fingerprint != served.fingerprint && candidate.copy_of.is_none();
        self.certificate
            .versions
            .range(..number)
            .rev()
            .find(|(_, version)| is_other(version))
            .map(|(number, _)| *number)
    }
}
