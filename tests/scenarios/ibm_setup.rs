//! `hotcert setup ibm` and `hotcert teardown ibm`, against `demo-manager`, which emulates IBM's APIs, and compared with
//! what IBM's own SDKs request for the same steps.

mod account;
mod events;
mod sdk;

use std::collections::BTreeSet;

use serde_json::Value;

use account::Account;

/// Of the requests that create or delete something.
fn changes(requests: &[Value]) -> Vec<String> {
    let is_change = |request: &&Value| request["method"] != "GET" && request["path"] != "/identity/token";
    requests.iter().filter(is_change).map(line).collect()
}

fn line(request: &Value) -> String {
    format!("{} {}", request["method"].as_str().unwrap(), request["path"].as_str().unwrap())
}

#[test]
fn a_second_run_changes_nothing_and_says_so() {
    let account = Account::new();
    let first = account.succeeds(&account.setup(&[]));
    assert!(
        first.contains("[4/14] event-notifications instance hotcert-event-notifications: made: crn:"),
        "{first}"
    );
    assert!(first.contains("[7/14] hotcert-secrets-manager active: provisioning"), "{first}");
    assert!(first.contains("Made 8;"), "{first}");
    let requests = account.take_requests();
    assert_eq!(changes(&requests).len(), 8, "{:#?}", changes(&requests));
    let token = account.file("ibm-events.token");
    assert!(!first.contains(token.trim()), "the token is in a file, and not printed");

    let second = account.succeeds(&account.setup(&[]));
    assert!(second.contains("Nothing was changed"), "{second}");
    assert!(!second.contains("differs"), "{second}");
    assert_eq!(changes(&account.take_requests()), Vec::<String>::new());
    assert_eq!(account.file("ibm-events.token"), token);
    // Both print the same settings and the same command.
    let tail = |output: &str| output.split_once("\nSettings of the controller").unwrap().1.to_owned();
    assert_eq!(tail(&first), tail(&second));
    assert_eq!(account.mode("ibm-events.token"), 0o600);
}

#[test]
fn what_differs_is_said_and_left() {
    let account = Account::new();
    account.succeeds(&account.setup(&[]));
    account.take_requests();
    let other = account
        .run(&account.with_receiver("https://other.example/hook", &["--events", "changed,revoked"]), "");
    let text = account::text(&other);
    assert!(other.status.success(), "{text}");
    for said in [
        "differs: it sends to another address than https://other.example/hook",
        "differs: it does not select $.data.event_type == 'com.ibm.cloud.secrets-manager.secret_revoked', and selects",
        "Nothing was changed",
        "What differs was left as it is",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
    assert_eq!(changes(&account.take_requests()), Vec::<String>::new());
    // The value of the header cannot be read back.
    account.remove("ibm-events.token");
    let refused = account.refused(&account.setup(&[]));
    assert!(refused.contains("ibm-events.token with the token that it sends does not"), "{refused}");
    assert_eq!(changes(&account.take_requests()), Vec::<String>::new());
}

#[test]
fn a_run_that_failed_is_continued_by_the_next() {
    let account = Account::new();
    let refused = account.refused(&account.setup(&["--event-notifications-plan", "gold"]));
    assert!(refused.contains("step 2 of 14, plan gold of event-notifications, failed"), "{refused}");
    assert!(refused.contains("it has lite, standard\nname one of them"), "{refused}");

    // Event Notifications is not reached.
    let endpoints = account.endpoints(Some("https://localhost:1/event-notifications"));
    let mut args = account.setup(&[]);
    *args.iter_mut().find(|arg| arg.ends_with("endpoints.yaml")).unwrap() = endpoints;
    account.take_requests();
    let refused = account.refused(&args);
    assert!(refused.contains("step 9 of 14, registration of Secrets Manager"), "{refused}");
    assert!(refused.contains("run the same command again: what is done is kept"), "{refused}");
    assert_eq!(changes(&account.take_requests()).len(), 4);

    let rest = account.succeeds(&account.setup(&[]));
    assert!(rest.contains("Made 4;"), "{rest}");
    assert_eq!(changes(&account.take_requests()).len(), 4);
}

#[test]
fn a_dry_run_prints_what_the_first_run_sends() {
    let account = Account::new();
    let printed = account.succeeds(&account.setup(&["--dry-run"]));
    assert_eq!(account.take_requests(), Vec::<Value>::new(), "it sends nothing");
    assert!(!account.exists("ibm-events.token") && !account.exists("notifications.yaml"));
    assert!(printed.contains("apikey=****") && printed.contains("\"private_key\": \"****\""), "{printed}");
    assert!(printed.contains("\"x-hotcert-token\": \"****\""), "{printed}");
    assert!(printed.contains("events: [changed, expiring, failed]"), "{printed}");

    account.succeeds(&account.setup(&[]));
    // An instance is asked for until it is active, and ids are known.
    let requests = account.take_requests();
    let mut sent: Vec<_> = requests.iter().map(|request| account::without_ids(&line(request))).collect();
    sent.dedup();
    let is_request = |line: &&str| ["GET ", "POST "].iter().any(|method| line.starts_with(method));
    let mut printed: Vec<_> = printed
        .lines()
        .filter(is_request)
        .map(|line| {
            let (method, url) = line.split_once(' ').unwrap();
            let path = url.split_once("://").unwrap().1.split_once('/').unwrap().1;
            account::without_ids(&format!("{method} /{}", path.split('?').next().unwrap()))
        })
        .collect();
    printed.dedup();
    assert_eq!(printed, sent);
}

#[test]
fn teardown_removes_what_setup_made_and_only_that() {
    let account = Account::new();
    account.succeeds(&account.setup(&[]));
    // What a person made meanwhile keeps the instance that it is in.
    account.post("/plain/other", &account.version("other"));
    account.take_requests();

    let planned = account.succeeds(&account.teardown(&["--dry-run"]));
    assert!(planned.contains("# remove topic hotcert-certificates\nDELETE https://localhost"), "{planned}");
    assert!(planned.contains("stays: instance hotcert-secrets-manager: it has secrets"), "{planned}");
    let refused = account.run(&account.teardown(&[]), "no\n");
    assert!(account::text(&refused).contains("nothing was removed"), "{}", account::text(&refused));
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(changes(&account.take_requests()), Vec::<String>::new());

    let removed = account.run(&account.teardown(&[]), "yes\n");
    assert!(removed.status.success(), "{}", account::text(&removed));
    let deleted: BTreeSet<_> = changes(&account.take_requests()).into_iter().collect();
    assert_eq!(deleted.len(), 7, "{deleted:#?}");
    assert!(deleted.iter().all(|request| request.starts_with("DELETE ")), "{deleted:#?}");
    let again = account.succeeds(&account.teardown(&["--yes"]));
    assert!(again.contains("There is nothing to remove"), "{again}");
    assert!(again.contains("stays: instance hotcert-secrets-manager: it has secrets"), "{again}");

    // Setup finds the instance again.
    let again = account.succeeds(&account.setup(&[]));
    assert!(again.contains("secrets-manager instance hotcert-secrets-manager: kept"), "{again}");
    assert!(again.contains("Made 7;"), "{again}");
}

#[test]
fn what_another_made_with_the_same_names_is_not_removed() {
    let account = Account::new();
    account.succeeds(&account.setup(&["--name", "hotcert"]));
    // Marked by a setup of another name.
    let foreign = [
        "--name",
        "other",
        "--secrets-manager",
        "hotcert-secrets-manager",
        "--event-notifications",
        "hotcert-event-notifications",
        "--secret",
        "hotcert-certificate",
    ];
    account.take_requests();
    let output = account.succeeds(&account.teardown(&[&foreign[..], &["--yes"]].concat()));
    assert!(output.contains("There is nothing to remove"), "{output}");
    for said in ["secret hotcert-certificate: setup did not make it", "no tag hotcert-setup:other"] {
        assert!(output.contains(said), "{said}: {output}");
    }
    assert_eq!(changes(&account.take_requests()), Vec::<String>::new());
}

#[test]
fn an_api_key_is_in_no_output() {
    let account = Account::new();
    account.write("ibm-api.key", "another-key-of-some-length\n");
    let refused = account.refused(&account.setup(&[]));
    assert!(refused.contains("step 1 of 14, token and resource group, failed"), "{refused}");
    assert!(refused.contains("BXNIM0415E") && refused.contains("check the API key"), "{refused}");
    assert!(!refused.contains("another-key"), "{refused}");
    account.remove("ibm-api.key");
    let refused = account.refused(&account.setup(&[]));
    assert!(refused.contains("ibm-api.key: there is no such file"), "{refused}");
}
