//! Pods that are sent back, with everything that is wrong with them.

use super::*;

fn refusal(pod: &Value) -> Vec<Problem> {
    match inject(pod, &context(SidecarKind::Native)) {
        Err(Refusal(problems)) => problems,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn everything_wrong_is_said_at_once() {
    let mut pod = asking(&[("inbound", "x,8443=8080,8443=8081"), ("inbuond", "y")]);
    pod["metadata"]["annotations"].as_object_mut().unwrap().remove("hotcert.dev/secret");
    pod["spec"]["hostNetwork"] = json!(true);
    let places: Vec<String> = refusal(&pod).into_iter().map(|problem| problem.place).collect();
    assert_eq!(
        places,
        [
            "annotation hotcert.dev/inbuond",
            "annotation hotcert.dev/secret",
            "annotation hotcert.dev/inbound",
            "spec.hostNetwork",
            "annotation hotcert.dev/inbound",
        ]
    );
}

#[test]
fn a_malformed_pod_is_refused_and_not_mangled() {
    for (pointer, value, place) in [
        ("/spec", json!("x"), "spec"),
        ("/metadata/annotations", json!([]), "metadata.annotations"),
        ("/spec/containers", json!(null), "spec.containers"),
        ("/spec/containers", json!(["app"]), "spec.containers"),
        ("/spec/initContainers", json!({}), "spec.initContainers"),
        ("/spec/volumes", json!([1]), "spec.volumes"),
    ] {
        let problems = refusal(&with(asking(&[]), pointer, value));
        assert_eq!(problems[0].place, place, "{problems:?}");
    }
}

#[test]
fn names_of_the_agents_that_are_not_its_own_are_refused() {
    let pod =
        with(asking(&[]), "/spec/initContainers", json!([{ "name": "hotcert-agent", "image": "other" }]));
    assert_eq!(refusal(&pod)[0].place, "container hotcert-agent");
    let pod = with(asking(&[]), "/spec/volumes", json!([{ "name": "hotcert-token", "emptyDir": {} }]));
    assert_eq!(refusal(&pod)[0].place, "volume hotcert-token");
}
