//! How often each step ran, so that a step that hardly ever runs is noticed.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::steps::Step;

thread_local! {
    static COUNTS: RefCell<BTreeMap<String, u64>> = const { RefCell::new(BTreeMap::new()) };
}

/// By the name of the step, without what it is about.
pub(super) fn count(step: &Step) {
    let text = format!("{step:?}");
    let name = text.split([' ', '(']).next().unwrap_or_default().to_owned();
    COUNTS.with_borrow_mut(|counts| *counts.entry(name).or_default() += 1);
}

pub(super) fn take() -> BTreeMap<String, u64> {
    COUNTS.take()
}
