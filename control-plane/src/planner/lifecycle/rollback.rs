//! Going back to an earlier version: which one, and why it may not be. What comes of it is a new version
//! with the old leaf, so that the newest is what is served here as everywhere.

use super::{Step, renew_at_latest};
use crate::api::date;
use crate::planner::Action;
use crate::planner::observed::{Request, Version};

impl Step<'_> {
    /// `digest`: of what is wanted now; `trust`: why a version of this number is not trusted today.
    pub fn rollback(
        &self,
        digest: &str,
        trust: impl Fn(u64, &Version) -> Result<(), String>,
    ) -> Option<Result<Action, (String, String)>> {
        let Request { id, words } = self.open("rollback")?;
        let refuse = |why: String| Some(Err((id.clone(), why)));
        let wanted = words.split_whitespace().find_map(|word| word.strip_prefix("to="));
        let of = match wanted.map(str::parse::<u64>) {
            Some(Ok(number)) => number,
            Some(Err(_)) => return refuse(format!("{wanted:?} is no version number")),
            None => match self.previous() {
                Some(number) => number,
                None => return refuse("there is no version before the one that is served".into()),
            },
        };
        let Some(version) = self.certificate.versions.get(&of) else {
            let kept: Vec<_> = self.certificate.versions.keys().map(ToString::to_string).collect();
            return refuse(format!("version {of} is not kept; there are {}", kept.join(", ")));
        };
        let end = version.leaf.not_after;
        if self.now >= end {
            return refuse(format!("version {of} expired at {}", date::seconds(end)));
        }
        if self.now >= renew_at_latest(version) {
            return refuse(format!("version {of} expires at {}, too soon", date::seconds(end)));
        }
        if let Err(why) = trust(of, version) {
            return refuse(why);
        }
        if version.made_for != digest {
            return refuse(format!("version {of} was made for another spec: change the spec back as well"));
        }
        Some(Ok(Action::Copy {
            certificate: self.name.clone(),
            version: self.next_version(),
            of,
            bundle_of: version.roots.as_ref().and_then(|_| {
                let (newest, version) = self.certificate.newest()?;
                version.roots.is_some().then_some(newest)
            }),
            request: id.clone(),
        }))
    }

    /// Before the one that is served, or that the one served is a copy of.
    fn previous(&self) -> Option<u64> {
        let (mut of, version) = self.certificate.newest()?;
        // A copy may have been made of a copy.
        let original = |of: &u64| self.certificate.versions.get(of).and_then(|version| version.copy_of);
        while let Some(before) = original(&of).filter(|before| *before < of) {
            of = before;
        }
        let other =
            |candidate: &Version| candidate.fingerprint != version.fingerprint && candidate.copy_of.is_none();
        self.certificate
            .versions
            .range(..of)
            .rev()
            .find(|(_, version)| other(version))
            .map(|(number, _)| *number)
    }
}
