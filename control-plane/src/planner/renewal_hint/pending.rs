//! The hints that wait with one object, in one request: of each sender one. What a sender says does not replace what
//! another said, and an expiry does not replace the same sender's revocation.
//!
//! The arguments of the request are the words of the first hint, and each of the others as one word that has commas in
//! place of spaces: `revoked serial=1f from=a also=until=2026-01-01T00:00:00Z,from=b`. A release that knows of one hint alone
//! reads the first, so a revocation comes first.

use std::time::SystemTime;

use super::target::Target;
use super::{NoEffect, RenewalHint};
use crate::api::request;

/// More wait with no object. Each is about the certificate as it is, and one is enough to have it replaced.
const MAX_HINTS: usize = 8;
const FROM: &str = "from=";
const ALSO: &str = "also=";

/// A hint, and the sender that it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentHint {
    pub hint: RenewalHint,
    /// Empty if nothing says so.
    pub sender: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PendingHints(Vec<SentHint>);

/// What became of a hint that was to be [added](PendingHints::add).
#[derive(Debug, PartialEq, Eq)]
pub enum Added {
    /// It waits now.
    Added,
    /// The sender said the same before.
    Known,
    /// Why it does not wait.
    Outweighed(&'static str),
}

impl PendingHints {
    /// From the arguments of a request.
    pub fn parse(arguments: &str) -> Self {
        let also = arguments.split_whitespace().filter_map(|word| word.strip_prefix(ALSO));
        let first = arguments.split_whitespace().filter(|word| !word.starts_with(ALSO)).collect::<Vec<_>>();
        let others = also.map(|hint| SentHint::parse(&hint.replace(',', " ")));
        Self([SentHint::parse(&first.join(" "))].into_iter().chain(others).take(MAX_HINTS).collect())
    }

    /// As the text of a request. Its id says whether a certificate that is made for it was
    /// [replaced on a revocation](request::is_revocation).
    pub fn to_request(&self, id: &str) -> String {
        let mut words = vec![if self.has_revocation() { request::revocation(id) } else { id.to_owned() }];
        let mut hints = self.0.iter().map(SentHint::to_words);
        words.extend(hints.next());
        words.extend(hints.map(|hint| format!("{ALSO}{}", hint.replace(' ', ","))));
        words.join(" ")
    }

    pub fn add(&mut self, new: SentHint) -> Added {
        match self.0.iter().position(|hint| hint.sender == new.sender) {
            Some(at) if self.0[at] == new => return Added::Known,
            Some(at) if self.0[at].hint.revoked && !new.hint.revoked => {
                return Added::Outweighed("the sender has reported it revoked, and that was not handled yet");
            }
            Some(at) => self.0[at] = new,
            None if self.0.len() < MAX_HINTS => self.0.push(new),
            // The first are revocations.
            None => match self.0.last_mut().filter(|last| new.hint.revoked && !last.hint.revoked) {
                Some(last) => *last = new,
                None => return Added::Outweighed("what other senders have reported was not handled yet"),
            },
        }
        self.0.sort_by_key(|sent| !sent.hint.revoked);
        Added::Added
    }

    /// The first hint that has the certificate replaced, or why there is none.
    pub fn effective(&self, target: &Target, now: SystemTime) -> Result<&SentHint, NoEffect> {
        let mut none = None;
        for sent in &self.0 {
            match sent.hint.no_effect(target, now) {
                None => return Ok(sent),
                Some(why) => none = none.or(Some(why)),
            }
        }
        Err(none.unwrap_or_else(|| NoEffect::Obsolete("there is no hint".into())))
    }

    pub fn has_revocation(&self) -> bool {
        self.0.iter().any(|sent| sent.hint.revoked)
    }
}

impl SentHint {
    fn parse(words: &str) -> Self {
        let sender = words.split_whitespace().find_map(|word| word.strip_prefix(FROM)).unwrap_or_default();
        Self { hint: RenewalHint::parse(words), sender: sender.to_owned() }
    }

    pub fn to_words(&self) -> String {
        let sender = (!self.sender.is_empty()).then(|| format!("{FROM}{}", self.sender));
        let words = Some(self.hint.to_arguments()).filter(|words| !words.is_empty());
        words.into_iter().chain(sender).collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planner::observed::Request;

    fn sent(words: &str) -> SentHint {
        SentHint::parse(words)
    }

    fn pending(hints: &[&str]) -> PendingHints {
        let mut pending = PendingHints::default();
        for words in hints {
            pending.add(sent(words));
        }
        pending
    }

    /// As the next controller reads it.
    fn read_again(pending: &PendingHints) -> (String, PendingHints) {
        let Request { id, arguments } = Request::parse(&pending.to_request("id")).unwrap();
        (id, PendingHints::parse(&arguments))
    }

    #[test]
    fn a_sender_replaces_neither_what_another_said_nor_its_own_revocation() {
        const END: &str = "until=2026-01-01T00:00:00Z";
        let (expiring, revoked) = (format!("{END} from=a"), "serial=ab revoked from=b");
        let mut both = pending(&[&expiring, revoked]);
        assert_eq!(both.0, [sent(revoked), sent(&expiring)], "the revocation comes first");
        assert_eq!(read_again(&both), ("revoked-id".into(), both.clone()));
        for (words, expected) in [(revoked, Added::Known), (&expiring, Added::Known)] {
            assert_eq!(both.add(sent(words)), expected, "{words}");
        }
        assert!(matches!(both.add(sent(&format!("{END} from=b"))), Added::Outweighed(_)));
        assert_eq!(both.add(sent("serial=cd revoked from=b")), Added::Added);
        assert_eq!(both.add(sent("serial=cd revoked from=a")), Added::Added);
        assert_eq!(both.0.len(), 2);
        let (id, _) = read_again(&pending(&[&expiring]));
        assert_eq!(id, "id", "of no revocation");
    }

    #[test]
    fn what_waits_is_bounded_and_a_revocation_finds_a_place() {
        let mut full = pending(&[]);
        for sender in 0..MAX_HINTS {
            assert_eq!(full.add(sent(&format!("from=s{sender}"))), Added::Added);
        }
        assert!(matches!(full.add(sent("from=late")), Added::Outweighed(_)));
        for sender in 0..MAX_HINTS {
            assert_eq!(full.add(sent(&format!("revoked from=r{sender}"))), Added::Added);
        }
        assert!(matches!(full.add(sent("revoked from=late")), Added::Outweighed(_)));
        assert_eq!((full.0.len(), read_again(&full).1 == full), (MAX_HINTS, true));
        let longest = format!("until=2026-01-01T00:00:00Z serial={} revoked", "f".repeat(10_000));
        let mut long = PendingHints::default();
        for sender in 0..MAX_HINTS {
            long.add(sent(&format!("{longest} from={sender:a<63}")));
        }
        assert_eq!(read_again(&long).1, long);
        assert!(long.to_request(&"i".repeat(56)).len() < Request::MAX_LENGTH / 2);
    }

    #[test]
    fn the_request_of_a_release_that_knows_one_hint_is_read_and_it_reads_the_first_of_several() {
        let old = PendingHints::parse("until=2026-01-01T00:00:00Z serial=ab from=ibm");
        assert_eq!(old.0, [sent("until=2026-01-01T00:00:00Z serial=ab from=ibm")]);
        assert_eq!(PendingHints::parse("").0, [sent("")], "written by hand");
        let both = pending(&["until=2026-01-01T00:00:00Z from=a", "serial=ab revoked from=b"]);
        let Request { arguments, .. } = Request::parse(&both.to_request("id")).unwrap();
        assert_eq!(RenewalHint::parse(&arguments), RenewalHint::parse("serial=ab revoked"));
    }
}
