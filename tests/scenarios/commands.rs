//! A person's commands on one machine (`--dir`): the whole control plane without a cluster, with real
//! agents that serve what it publishes and prove it.

use kit::agent::Launch;
use kit::app::App;
use kit::client::{both, served};
use kit::machine::{AUTHORITY, Machine, serial_in};
use kit::until;
use rustix::process::Signal;
use serde_json::Value;

#[test]
fn a_certificate_is_issued_rotated_and_rolled_back_and_openssl_sees_each() {
    let machine = Machine::with(&["payments"]);
    let first = machine.shown("payments");

    let rotated = machine.json(&["rotate", "shop/mtls-local-payments"]);
    assert_eq!(rotated["status"]["served"]["serving"], 1, "{rotated:#}");
    assert_eq!(machine.shown("payments"), serial_in(&rotated));
    assert_ne!(machine.shown("payments"), first);

    let back = machine.json(&["rollback", "shop/mtls-local-payments"]);
    assert_eq!(serial_in(&back), first);
    assert_eq!(machine.shown("payments"), first);
    let again = machine.refused(&["rollback", "shop/mtls-local-payments"]);
    assert!(again.contains("no version before"), "{again}");
    let unknown = machine.refused(&["rollback", "shop/mtls-local-payments", "--to", "99"]);
    assert!(unknown.contains("version 99 is not kept"), "{unknown}");

    let forth = machine.json(&["rollback", "shop/mtls-local-payments", "--to", "2"]);
    assert_eq!(serial_in(&forth), serial_in(&rotated));
    let history = machine.json(&["history", "shop/mtls-local-payments"]);
    let versions = history["versions"].as_array().unwrap();
    assert_eq!(versions.len(), 4, "{history:#}");
    assert_eq!((&versions[2]["copyOf"], &versions[3]["copyOf"]), (&1.into(), &2.into()));
    assert_eq!(history["published"], 4);
}

#[test]
fn a_root_is_rolled_over_on_proof_and_no_pod_is_left_behind() {
    let machine = Machine::with(&["payments", "storefront"]);
    let old = machine.roots("payments");
    let said = machine.succeeds(&["rollover", AUTHORITY, "--watch", "--reason", "a Tuesday"]);
    assert!(said.contains("Steady"), "{said}");
    let new = machine.roots("payments");
    assert_eq!((new.len(), machine.roots("storefront")), (1, new.clone()));
    assert_ne!(new, old);
    let history = machine.json(&["history", AUTHORITY]);
    assert_eq!(history["rollovers"][0]["reason"], "requested: a Tuesday", "{history:#}");
    // A leaf under the root that is gone is no more to be had.
    let refused = machine.refused(&["rollback", "shop/mtls-local-payments"]);
    assert!(refused.contains("today's trust rejects"), "{refused}");
}

#[test]
fn a_rollover_holds_at_a_pod_that_hangs_names_it_and_goes_on_when_it_is_back() {
    let machine = Machine::with(&["payments", "storefront"]);
    let old = machine.roots("payments");
    machine.service("payments").agent.signal(Signal::STOP);
    let held = machine.refused(&["rollover", AUTHORITY, "--watch", "--timeout", "12s"]);
    assert!(held.contains("Distributing: waits for shop/payments"), "{held}");
    let status = machine.json(&["status"]);
    assert_eq!(status["authorities"][0]["status"]["phase"], "Distributing");
    assert!(machine.roots("storefront").contains(&old[0]), "nothing was taken away");
    let trouble = machine.refused(&["check"]);
    assert!(trouble.contains("waits for shop/payments"), "{trouble}");

    machine.service("payments").agent.signal(Signal::CONT);
    // It goes on by itself: the next command on the directory does the work.
    machine.succeeds(&["rollover", AUTHORITY, "--watch", "--reverse", "--reason", "second thoughts"]);
    assert_eq!((machine.roots("payments"), machine.roots("storefront")), (old.clone(), old));
    assert_eq!(machine.json(&["history", AUTHORITY])["rollovers"].as_array().unwrap().len(), 1);
}

#[test]
fn a_pod_is_left_behind_by_name_and_for_a_reason_only() {
    let machine = Machine::with(&["payments", "storefront"]);
    machine.service("payments").agent.signal(Signal::STOP);
    machine.refused(&["rollover", AUTHORITY, "--watch", "--timeout", "12s"]);
    let nameless = machine.run(&["rollover", AUTHORITY, "--override", "shop/payments"]);
    assert!(!nameless.status.success() && both(&nameless).contains("--reason"), "{}", both(&nameless));
    let stranger = machine.refused(&["rollover", AUTHORITY, "--override", "shop/nobody", "--reason", "gone"]);
    assert!(stranger.contains("the rollover does not wait for shop/nobody"), "{stranger}");
    let done =
        ["rollover", AUTHORITY, "--watch", "--override", "shop/payments", "--reason", "it is being replaced"];
    machine.succeeds(&done);
    let history = machine.json(&["history", AUTHORITY]);
    let exempt = history["rollovers"][0]["overrides"][0].as_str().unwrap();
    assert!(exempt.contains("shop/payments") && exempt.contains("it is being replaced"), "{exempt}");
}

#[test]
fn a_compromised_root_goes_at_once_and_its_cost_is_said_before() {
    let machine = Machine::with(&["payments", "storefront"]);
    let old = machine.roots("payments").remove(0);
    let remove = ["rollover", AUTHORITY, "--remove-root", &old[..16], "--reason", "its key leaked"];
    let cost = machine.succeeds(&remove);
    assert!(cost.contains("2 certificates") && cost.contains("Nothing was done"), "{cost}");
    assert!(machine.roots("payments").contains(&old));
    machine.succeeds(&[&remove[..], &["--yes", "--watch"]].concat());
    for name in ["payments", "storefront"] {
        assert!(!machine.roots(name).contains(&old), "{name} trusts it still");
    }
}

#[test]
fn a_rollover_is_followed_without_beginning_another() {
    let machine = Machine::with(&["payments"]);
    machine.service("payments").agent.signal(Signal::STOP);
    let held = machine.refused(&["rollover", AUTHORITY, "--watch", "--timeout", "8s"]);
    let follow = format!("hotcert rollover {AUTHORITY} --follow");
    assert!(held.contains("timed out") && held.contains(&follow), "{held}");
    let hint = format!("hotcert rollover {AUTHORITY} --override shop/payments --reason TEXT");
    assert!(held.contains(&hint), "{held}");
    // What has not changed is not printed again with what has.
    let printed = held.lines().filter(|line| line.starts_with("Distributing: waits for"));
    assert_eq!(printed.filter(|line| line.contains("namespace shop: ")).count(), 1, "{held}");
    let again = machine.refused(&["rollover", AUTHORITY, "--watch", "--reason", "again"]);
    assert!(again.contains("is under way") && again.contains(&follow), "{again}");

    machine.service("payments").agent.signal(Signal::CONT);
    assert!(machine.succeeds(&["rollover", AUTHORITY, "--follow"]).contains("Steady"));
    let nothing = both(&machine.run(&["rollover", AUTHORITY, "--follow"]));
    assert!(nothing.contains(&format!("no rollover of {AUTHORITY} is under way")), "{nothing}");
    assert_eq!(machine.json(&["history", AUTHORITY])["rollovers"].as_array().unwrap().len(), 1);
}

#[test]
fn a_root_is_the_same_digits_in_every_command_and_they_are_taken_back() {
    let machine = Machine::with(&["payments"]);
    let shown = machine.roots("payments").remove(0)[..12].to_owned();
    let column = |args: &[&str], heading: &str| {
        let text = machine.succeeds(args);
        let at = text.lines().next().unwrap().find(heading).unwrap_or_else(|| panic!("{heading}: {text}"));
        text.lines().nth(1).unwrap()[at..].split_whitespace().next().unwrap().to_owned()
    };
    assert_eq!(column(&["status"], "ROOT"), shown);
    assert_eq!(column(&["history", "shop/mtls-local-payments"], "ROOT"), shown);
    let cost = machine.succeeds(&["rollover", AUTHORITY, "--remove-root", &shown, "--reason", "it leaked"]);
    assert!(cost.contains(&format!("Removing the root {shown} of")), "{cost}");
    let other =
        machine.refused(&["rollover", AUTHORITY, "--remove-root", "00000000", "--reason", "it leaked"]);
    assert!(other.contains(&format!("has no root 00000000: it has {shown}")), "{other}");
    machine.succeeds(&["rollover", AUTHORITY, "--watch"]);
    assert_eq!(column(&["history", AUTHORITY], "FROM ROOT"), shown);
    assert_eq!(column(&["history", AUTHORITY], "TO ROOT"), column(&["status"], "ROOT"));
}

#[test]
fn what_is_deleted_is_said_before_and_its_secret_stays() {
    let machine = Machine::with(&["payments"]);
    machine.succeeds(&["rotate", "shop/mtls-local-payments"]);
    let certificate = ["delete", "shop/mtls-local-payments"];
    let said = machine.succeeds(&certificate);
    for part in
        ["payments-tls", ": payments", &format!("a rollover of {AUTHORITY} waits"), "Nothing was done"]
    {
        assert!(said.contains(part), "{part:?} in {said}");
    }
    let named = machine.refused(&["delete", AUTHORITY, "--yes"]);
    assert!(named.contains("shop/mtls-local-payments") && named.contains("Delete them first"), "{named}");
    let fleet = machine.json(&["status"]);
    assert_eq!(fleet["certificates"].as_array().unwrap().len(), 1, "{fleet:#}");

    machine.succeeds(&[&certificate[..], &["--yes"]].concat());
    assert!(machine.secret("payments").join("tls.crt").exists(), "its pods serve it");
    assert!(machine.refused(&certificate).contains("there is no certificate shop/mtls-local-payments"));
    let said = machine.succeeds(&["delete", AUTHORITY, "--yes"]);
    assert!(said.contains("stay until you delete them"), "{said}");
    let fleet = machine.json(&["status"]);
    assert_eq!(
        (&fleet["authorities"], &fleet["certificates"]),
        (&serde_json::json!([]), &serde_json::json!([]))
    );
}

#[test]
fn a_refused_issue_leaves_nothing_behind() {
    let machine = Machine::with(&["payments"]);
    let args = ["issue", "shop/mtls-local-payments", "--authority", "root-local-other", "--create-authority"];
    let refused = machine.refused(&args);
    assert!(refused.contains("already exists"), "{refused}");
    let fleet = machine.json(&["status"]);
    assert_eq!(fleet["authorities"].as_array().unwrap().len(), 1, "{fleet:#}");
}

#[test]
fn an_authority_is_created_for_any_name_and_a_trust_domain() {
    let machine = Machine::with(&["payments"]);
    let any = ["--create-authority", "--any-name"];
    let edge =
        ["issue", "shop/mtls-local-edge", "--authority", "root-local-edge", "--dns-name", "edge.example.com"];
    machine.succeeds(&[&edge[..], &any, &["--trust-domain", "prod.example.org"]].concat());
    let mut openssl = std::process::Command::new("openssl");
    openssl
        .args(["x509", "-noout", "-ext", "subjectAltName", "-in"])
        .arg(machine.secret("edge").join("tls.crt"));
    let names = both(&openssl.output().unwrap());
    assert!(names.contains("DNS:edge.example.com"), "{names}");
    assert!(names.contains("URI:spiffe://prod.example.org/ns/shop/sa/edge"), "{names}");
    // One that exists is not changed, and not taken for what was asked for.
    let other = ["issue", "shop/mtls-local-other", "--authority", AUTHORITY];
    let refused = machine.refused(&[&other[..], &any].concat());
    assert!(refused.contains("exists without anyName: true"), "{refused}");
    let domain = ["--create-authority", "--trust-domain", "prod.example.org"];
    let refused = machine.refused(&[&other[..], &domain].concat());
    assert!(refused.contains("exists with the trust domain cluster.local"), "{refused}");
}

#[test]
fn names_are_free_and_beyond_the_namespace_as_the_authority_allows() {
    let machine = Machine::with(&[]);
    let create = ["--authority", "shop-ca", "--create-authority", "--cluster", "prod-eu"];
    let allow = ["--allow-dns-name", "*.{namespace}.example.org", "--allow-ip-address", "10.20.0.0/16"];
    let edge = ["issue", "shop/edge", "--service", "payments", "--usage", "server"];
    let names = ["--dns-name", "pay.shop.example.org", "--ip-address", "10.20.7.1"];
    machine.succeeds(&[&edge[..], &names, &create, &allow].concat());
    let leaf = machine.secret("payments").join("tls.crt");
    let shown = openssl(&[
        "x509",
        "-noout",
        "-ext",
        "subjectAltName,extendedKeyUsage",
        "-in",
        &leaf.display().to_string(),
    ]);
    assert!(
        shown.contains("DNS:pay.shop.example.org, URI:spiffe://cluster.local/ns/shop/sa/payments"),
        "{shown}"
    );
    assert!(shown.contains("IP Address:10.20.7.1") && !shown.contains("Client"), "{shown}");
    // By the name as well, whose cluster has a hyphen.
    let by_name = ["issue", "shop/mtls-prod-eu-storefront", "--authority", "shop-ca"];
    machine.succeeds(&[&by_name[..], &["--cluster", "prod-eu"]].concat());
    assert!(machine.secret("storefront").exists());
    for (args, said) in [
        (&by_name[..], "the cluster is prod, and that of the authority is prod-eu: write spec.cluster"),
        (&["issue", "shop/x", "--authority", "shop-ca"], "with --service any name will do"),
        (
            &["issue", "shop/client-x", "--service", "x", "--authority", "shop-ca"],
            "write usage: mtls, server or client",
        ),
        (
            &[
                "issue",
                "shop/x",
                "--service",
                "x",
                "--authority",
                "shop-ca",
                "--dns-name",
                "pay.bank.example.org",
            ],
            "no pattern of the authority's allowedNames.dnsNames allows it",
        ),
        (
            &["issue", "shop/x", "--service", "x", "--authority", "shop-ca", "--ip-address", "10.21.0.1"],
            "no pattern of the authority's allowedNames.ipAddresses allows its network",
        ),
        (
            &[&["issue", "shop/x", "--service", "x", "--allow-dns-name", "*.org"], &create[..]].concat(),
            "exists without that in its allowedNames.dnsNames",
        ),
        (
            &[
                "issue",
                "shop/mtls-a-x",
                "--authority",
                "root-a-x",
                "--create-authority",
                "--allow-dns-name",
                "a.*.org",
            ],
            "allowedNames.dnsNames: \"a.*.org\" is not a pattern of DNS names",
        ),
    ] {
        let refused = machine.refused(args);
        assert!(refused.contains(said), "{said:?} in {refused}");
    }
}

/// What OpenSSL and a client of rustls do; webpki is asked in the unit tests.
#[test]
fn openssl_accepts_a_chain_with_name_constraints_and_agents_serve_it() {
    let machine = Machine::with(&[]);
    let permit = ["--permit-dns-domain", "shop.svc", "--permit-dns-domain", "shop.svc.cluster.local"];
    let authority = ["--authority", AUTHORITY, "--create-authority"];
    machine.succeeds(&[&["issue", "shop/mtls-local-payments"], &authority[..], &permit].concat());
    let files = machine.credentials("payments");
    let [ca, leaf] = [&files.ca, &files.cert].map(|path| path.display().to_string());
    let shown = openssl(&["x509", "-noout", "-ext", "nameConstraints", "-in", &ca]);
    assert!(shown.contains("critical") && shown.contains("DNS:shop.svc.cluster.local"), "{shown}");
    let verified = openssl(&["verify", "-purpose", "sslserver", "-CAfile", &ca, &leaf]);
    assert!(verified.trim().ends_with(": OK"), "{verified}");
    let app = App::default();
    let agent = Launch::new(&machine.secret("payments")).inbound("", app.address).ready();
    until("OpenSSL is let in, and lets the agent in", || served(agent.address("inbound"), &files));
    let outside = ["issue", "shop/mtls-local-other", "--dns-name", "other.shop.svc.example.org"];
    let refused = machine.refused(&[&outside[..], &["--authority", AUTHORITY]].concat());
    assert!(
        refused.contains("is in none of the authority's nameConstraints.permittedDnsDomains"),
        "{refused}"
    );
    // The next root has them, too.
    machine.succeeds(&["rollover", AUTHORITY, "--watch"]);
    let shown = openssl(&["x509", "-noout", "-ext", "nameConstraints", "-in", &ca]);
    assert!(shown.contains("DNS:shop.svc.cluster.local"), "{shown}");
    let verified = openssl(&["verify", "-purpose", "sslclient", "-CAfile", &ca, &leaf]);
    assert!(verified.trim().ends_with(": OK"), "{verified}");
}

#[test]
fn keys_of_old_versions_are_removed_and_history_says_what_can_be_rolled_back_to() {
    let machine = Machine::with(&["payments"]);
    let name = "shop/mtls-local-payments";
    for _ in 0..4 {
        machine.succeeds(&["rotate", name]);
    }
    let versions = machine.home.path().join("state/versions/shop/mtls-local-payments");
    let keys = |number: u64| {
        let [with, without] = ["", ".keyless"].map(|suffix| versions.join(format!("{number}{suffix}")));
        assert_ne!(with.exists(), without.exists(), "version {number}");
        assert!(without.join("tls.crt").exists() != with.exists() && !without.join("tls.key").exists());
        with.join("tls.key").exists()
    };
    until("the keys of two versions before the published one", || {
        (1..=5).map(keys).eq([false, false, true, true, true]).then_some(())
    });
    let history = machine.json(&["history", name]);
    let refused =
        history["versions"].as_array().unwrap().iter().map(|version| version["rollbackRefused"].clone());
    let removed = serde_json::json!("its key was removed");
    let expected = [removed.clone(), removed, Value::Null, Value::Null, "the newest".into()];
    assert_eq!(refused.collect::<Vec<_>>(), expected, "{history:#}");
    let shown = machine.succeeds(&["history", name]);
    assert!(shown.contains("ROLLBACK") && shown.contains("no: its key was removed"), "{shown}");
    let refused = machine.refused(&["rollback", name, "--to", "2"]);
    assert!(refused.contains("version 2 has no key any more: spec.rollbackVersions"), "{refused}");
    let back = machine.json(&["rollback", name, "--to", "3"]);
    assert_eq!(machine.shown("payments"), serial_in(&back));
    machine.succeeds(&["check"]);
}

fn openssl(args: &[&str]) -> String {
    both(&std::process::Command::new("openssl").args(args).output().unwrap())
}

#[test]
fn a_drill_without_anything_to_measure_fails() {
    let machine = Machine::with(&[]);
    let (name, authority) = ("shop/mtls-local-idle", "root-local-idle");
    machine.succeeds(&["issue", name, "--authority", authority, "--create-authority"]);
    let nothing = machine.refused(&["drill", name]);
    assert!(nothing.contains("no agents registered: nothing was measured"), "{nothing}");
    let report = machine.run(&["drill", name, "--json"]);
    assert_eq!(report.status.code(), Some(1), "{}", both(&report));
}

#[test]
fn a_drill_counts_what_the_agents_lost() {
    let machine = Machine::with(&["payments"]);
    let report = machine.json(&["drill", "shop/mtls-local-payments"]);
    assert_eq!((&report["pods"], &report["serving"]), (&1.into(), &1.into()), "{report:#}");
    assert!(report["publishedToServedSeconds"].as_f64().unwrap() < 20.0, "{report:#}");
    assert_eq!((&report["lost"], &report["unread"]), (&serde_json::json!({}), &serde_json::json!([])));
    // A pod that cannot be asked is not passed over in silence.
    machine.register("payments", machine.service("payments").agent.address("proof"), None);
    let unread = machine.refused(&["drill", "shop/mtls-local-payments"]);
    assert!(unread.contains("admin"), "{unread}");
}

#[test]
fn what_is_asked_for_in_vain_says_what_to_do() {
    let machine = Machine::with(&["payments"]);
    machine.succeeds(&["check"]);
    for (args, said) in [
        (&["rotate", "shop/mtls-local-nobody"][..], "there is no certificate shop/mtls-local-nobody"),
        (&["rollover", "root-local-nobody"], "there is no authority root-local-nobody"),
        (&["issue", "shop/mtls-local-payments", "--authority", AUTHORITY], "already exists"),
        (&["issue", "shop/payments", "--authority", AUTHORITY], "TYPE-CLUSTER-MICROSERVICE"),
        (&["issue", "bank/mtls-local-vault", "--authority", AUTHORITY], "does not allow the namespace bank"),
        (
            &["issue", "shop/mtls-local-x", "--authority", AUTHORITY, "--dns-name", "example.com"],
            "example.com is not under shop.svc",
        ),
        (
            &["issue", "shop/mtls-local-y", "--authority", "root-local-none"],
            "create it with --create-authority",
        ),
        (&["rollover", AUTHORITY, "--reverse"], "no rollover of root-local-shop is under way"),
    ] {
        let refused = machine.refused(args);
        assert!(refused.contains(said), "{said:?} in {refused}");
    }
}
