//! Chains are judged as NIST's suite has it, or otherwise for a reason that users can read, and never more leniently than
//! by OpenSSL, Go and webpki.

use std::collections::BTreeMap;
use std::path::Path;

use kit::chains::certificate::{Extension, list};
use kit::chains::expected::DIFFERENCES;
use kit::chains::fuzz::{Fuzz, corpus, line};
use kit::chains::ours::Ours;
use kit::chains::{Case, mutate, pkits, webpki_alone};

/// Chains that are made anew, as many as take half a minute of a busy machine.
const MADE: u64 = 1500;

#[test]
fn chains_are_judged_as_the_suite_of_nist_has_it_or_for_a_reason_that_is_documented() {
    let mut found = BTreeMap::new();
    let cases = pkits::cases();
    assert_eq!(cases.len(), 223);
    for case in &cases {
        let verdict = Ours::of(case).peer(case);
        if verdict.is_ok() {
            assert_eq!(webpki_alone::verdict(case), Ok(()), "{}: accepted", case.id);
        }
        if Some(verdict.is_ok()) != case.expected {
            found.insert(case.id.as_str(), verdict.is_err());
        }
    }
    let differences =
        DIFFERENCES.iter().flat_map(|difference| difference.cases.iter().map(|id| (*id, difference.refused)));
    assert_eq!(found, differences.collect());
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/chains.md");
    let page = std::fs::read_to_string(page).unwrap();
    for difference in DIFFERENCES {
        assert!(page.contains(difference.why), "not in docs/chains.md: {}", difference.why);
    }
}

#[test]
fn chains_of_the_corpus_are_accepted_by_nobody_more_than_by_its_peers() {
    assert_faultless(corpus());
}

#[test]
fn chains_with_faults_in_them_are_accepted_by_nobody_more_than_by_its_peers() {
    assert_faultless((0..MADE).map(|index| mutate::case(19, index)));
}

#[test]
fn a_revocation_list_without_a_number_or_with_a_critical_one_is_refused() {
    let number = |critical| Extension { oid: "2.5.29.20", critical, value: vec![2, 1, 1] };
    for (extensions, accepted) in [(vec![number(false)], true), (vec![], false), (vec![number(true)], false)]
    {
        let mut case = mutate::good();
        case.lists = vec![list("root", 1, &extensions), list("mid", 2, &extensions)];
        let verdict = Ours::of(&case).peer(&case);
        assert_eq!(verdict.is_ok(), accepted, "{extensions:?}: {verdict:?}");
    }
}

fn assert_faultless(cases: impl IntoIterator<Item = Case>) {
    let mut judges = Fuzz::default();
    let mut found = Vec::new();
    for case in cases {
        let faults = judges.faults(&case);
        if !faults.is_empty() {
            found.push(format!("# {}\n{}", faults.join("; "), line(&case)));
        }
    }
    assert!(found.is_empty(), "{} chains:\n{}", found.len(), found.join("\n"));
    assert!(judges.accepted > 0);
}
