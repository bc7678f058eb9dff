//! What is said of a machine is what is the case: broken settings are not healthy, a refused spec is not ready, a pod
//! that is gone serves nobody.

use kit::machine::{AUTHORITY, Machine};
use kit::pki::write;
use kit::{until, within};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

const NAME: &str = "shop/mtls-local-payments";

/// By a rename: half a file is another error.
fn replace(path: &Path, text: &str) {
    let new = write(&path.with_extension("new"), text);
    std::fs::rename(new, path).unwrap();
}

/// Status and reason of a condition.
fn condition(object: &Value, of_type: &str) -> Option<(String, String)> {
    let conditions = object["status"]["conditions"].as_array()?;
    let found = conditions.iter().find(|condition| condition["type"] == of_type)?;
    let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
    Some((text("status"), text("reason")))
}

#[test]
fn broken_notification_settings_are_not_healthy_and_the_line_is_named() {
    let machine = Machine::with(&["payments"]);
    let settings = machine.home.path().join("notifications.yaml");
    replace(&settings, "# on call\ntopics:\n  - name: all\n    events: [loud]\n    subscriptions: []\n");
    let line = "notifications.yaml:4: topics[0].events: ";
    let checked = machine.refused(&["check", "--notifications", settings.to_str().unwrap()]);
    assert!(checked.contains(line), "{checked}");
    assert!(machine.succeeds(&["check"]).contains("no problems"));

    let controller = machine.controller(1, &["--notifications", settings.to_str().unwrap()]);
    // At first it waits for the lock of the directory.
    until("unready for its settings", || {
        let answer = controller.admin("/readyz");
        (answer.status == 503 && answer.text().contains(line)).then_some(())
    });
    let health = controller.health();
    assert_eq!(health["healthy"], json!(false), "{health:#}");
    assert!(health["settings_problem"].as_str().unwrap().contains(line), "{health:#}");
    until("a command to know", || {
        let output = machine.run(&["check"]);
        (output.status.code() == Some(1) && String::from_utf8_lossy(&output.stdout).contains(line))
            .then_some(())
    });
    assert!(machine.succeeds(&["status"]).contains(line));
    // A command that reconciles has no settings, and leaves what the controller reported.
    machine.succeeds(&["rotate", NAME]);
    let status = machine.json(&["status"]);
    let rejected = condition(&status["authorities"][0], "SettingsRejected");
    assert_eq!(rejected, Some(("True".into(), "InvalidSettings".into())));

    replace(&settings, "topics: []\n");
    within(Duration::from_secs(60), "healthy", || (controller.admin("/readyz").status == 200).then_some(()));
    until("the condition to end", || machine.run(&["check"]).status.success().then_some(()));
    assert_eq!(controller.health()["healthy"], json!(true));
}

#[test]
fn a_refused_spec_is_not_ready_while_what_it_published_serves_on() {
    let machine = Machine::with(&["payments"]);
    let _controller = machine.controller(1, &[]);
    let spec = machine.home.path().join(format!("certificates/{NAME}.yaml"));
    let valid = std::fs::read_to_string(&spec).unwrap();
    let shown = machine.shown("payments");
    for (change, ready, beside) in [
        (valid.replace(AUTHORITY, "root-local-shpo"), "AuthorityNotFound", "Reconciling"),
        (valid.replace("spec:\n", "spec:\n  lifetime: 3000d\n"), "InvalidSpec", "Stalled"),
    ] {
        assert_ne!(change, valid);
        replace(&spec, &change);
        let status = until("it is refused", || {
            let status = machine.json(&["status"])["certificates"][0].clone();
            (condition(&status, "Ready") == Some(("False".into(), ready.into()))).then_some(status)
        });
        assert_eq!(condition(&status, "Published"), Some(("True".into(), "Published".into())), "{status:#}");
        assert_eq!(condition(&status, beside), Some(("True".into(), ready.into())), "{status:#}");
        assert!(machine.succeeds(&["status"]).contains(&format!("no, {ready}: ")));
        assert!(machine.refused(&["check"]).contains(ready));
        assert_eq!(machine.shown("payments"), shown);
    }
    replace(&spec, &valid);
    until("it is ready again", || {
        let status = machine.json(&["status"])["certificates"][0].clone();
        (condition(&status, "Ready") == Some(("True".into(), "Published".into()))).then_some(())
    });
}

#[test]
fn a_pod_that_is_gone_is_not_shown_as_serving() {
    let mut machine = Machine::with(&["payments"]);
    machine.succeeds(&["rotate", NAME]);
    let status = machine.succeeds(&["status"]);
    assert!(status.contains(" s after publishing; proved "), "{status}");
    machine.services.clear();
    let status = machine.succeeds(&["status"]);
    assert!(
        status.contains("no: the agent does not answer at ") && !status.contains("yes, seen "),
        "{status}"
    );
    assert!(status.contains("; last proved "), "{status}");
    std::fs::remove_file(machine.home.path().join("pods/shop/payments.yaml")).unwrap();
    let status = machine.succeeds(&["status"]);
    assert!(status.contains("no pods") && !status.contains("yes, seen "), "{status}");
}
