//! What was published where is recorded with the keyring by today's controller, and by the previous one not: it publishes
//! without a record, and drops the record when it writes the keyring.

use std::collections::BTreeSet;

use kit::client::both;
use kit::within;

use super::super::Release::{Previous, Today};
use super::upgrade::{define, replace, start};
use crate::control_plane::{AUTHORITY, Cluster, TAKEOVER};

/// The Secrets that today's controller has recorded with the keyring; none in one that the previous release wrote.
fn recorded(cluster: &Cluster) -> Option<BTreeSet<String>> {
    cluster.ledger(AUTHORITY)
}

#[track_caller]
fn wait_recorded(cluster: &Cluster, secrets: &[&str]) {
    let secrets: BTreeSet<_> = secrets.iter().map(|secret| format!("shop/{secret}")).collect();
    within(TAKEOVER, &format!("{secrets:?} recorded"), || (recorded(cluster)? == secrets).then_some(()));
}

#[test]
fn what_the_previous_controller_publishes_is_recorded_by_todays_whether_or_not_the_record_was_lost() {
    let cluster = Cluster::empty();
    define(&cluster, Today);
    let mut controller = start(&cluster, Today);
    cluster.server.apply("demo/certificates.yaml");
    ["payments", "storefront"].iter().for_each(|name| cluster.wait_published(name));
    wait_recorded(&cluster, &["payments-tls", "storefront-tls"]);
    let by_previous = |args: &[&str]| {
        let output = cluster.run_by(&Previous.hotcert(), args);
        assert!(output.status.success(), "{args:?}: {}", both(&output));
    };

    // It publishes, and leaves the keyring and the record in it alone.
    replace(&mut controller, &cluster, Previous);
    by_previous(&["issue", "shop/mtls-demo-late", "--authority", AUTHORITY]);
    replace(&mut controller, &cluster, Today);
    wait_recorded(&cluster, &["late-tls", "payments-tls", "storefront-tls"]);

    // It writes the keyring, and the record is gone.
    replace(&mut controller, &cluster, Previous);
    by_previous(&["rollover", AUTHORITY, "--watch"]);
    by_previous(&["issue", "shop/mtls-demo-later", "--authority", AUTHORITY]);
    assert_eq!(recorded(&cluster), None);
    replace(&mut controller, &cluster, Today);
    wait_recorded(&cluster, &["late-tls", "later-tls", "payments-tls", "storefront-tls"]);
}
