//! An app behind an agent, and its client, see what they would see without it, but for what `docs/http.md` says and for
//! what every proxy changes, of which nginx is the judge.

use kit::exchanges::{SEED, Ways, generate, report};

const COUNT: u64 = 2400;

#[test]
fn what_app_and_client_see_is_what_they_see_without_agents() {
    let exchanges: Vec<_> = (0..COUNT).map(|index| generate::exchange(SEED, index)).collect();
    let differing = Ways::default().differences(&exchanges);
    assert!(differing.is_empty(), "{}", report(SEED, &differing));
}
