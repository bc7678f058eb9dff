//! Pods that are sent back, with everything that is wrong with them.

use super::*;

fn refusal(pod: &Value) -> Vec<Problem> {
    match inject(pod, &context(SidecarKind::Native)) {
        Err(InvalidPod(problems)) => problems,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn everything_wrong_is_said_at_once() {
    let mut pod = asking(&[("inbound", "x,8443=8080,8443=8081"), ("inbuond", "y")]);
    pod["metadata"]["annotations"].as_object_mut().unwrap().remove("hotcert.dev/secret");
    pod["spec"]["hostNetwork"] = json!(true);
    let locations: Vec<String> = refusal(&pod).into_iter().map(|problem| problem.location).collect();
    assert_eq!(
        locations,
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
    for (pointer, value, location) in [
        ("/spec", json!("x"), "spec"),
        ("/metadata/annotations", json!([]), "metadata.annotations"),
        ("/spec/containers", json!(null), "spec.containers"),
        ("/spec/containers", json!(["app"]), "spec.containers"),
        ("/spec/initContainers", json!({}), "spec.initContainers"),
        ("/spec/volumes", json!([1]), "spec.volumes"),
    ] {
        let problems = refusal(&with(asking(&[]), pointer, value));
        assert_eq!(problems[0].location, location, "{problems:?}");
    }
}

#[test]
fn more_containers_than_a_pod_has_are_refused() {
    let containers = |count| {
        let pod = with(asking(&[]), "/spec/initContainers", json!([{ "name": "init" }]));
        with(pod, "/spec/containers", json!(vec![json!({ "name": "app" }); count]))
    };
    assert_eq!(refusal(&containers(256))[0].location, "spec.containers");
    native(&containers(255));
}

#[test]
fn a_refusal_does_not_say_back_all_that_was_given() {
    let pod = with(asking(&[]), "/metadata/labels", json!({ INJECT_LABEL: "ü".repeat(1 << 20) }));
    let problems = refusal(&pod);
    assert!(problems[0].to_string().ends_with("ü\" is not \"enabled\" or \"disabled\""));
    assert!(problems[0].to_string().chars().count() < 600, "{problems:?}");
    let ports = vec![json!({ "containerPort": 9640 }); 1000];
    let pod = with(asking(&[]), "/spec/containers", json!([{ "name": "n".repeat(1000), "ports": ports }]));
    let problems = refusal(&pod);
    assert_eq!(problems.len(), 17);
    assert_eq!(problems[16].location, "and 984 more");
    assert!(problems.iter().all(|problem| problem.location.chars().count() <= 128), "{problems:?}");
}

#[test]
fn names_of_the_agents_that_are_not_its_own_are_refused() {
    let pod =
        with(asking(&[]), "/spec/initContainers", json!([{ "name": "hotcert-agent", "image": "other" }]));
    assert_eq!(refusal(&pod)[0].location, "container hotcert-agent");
    let pod = with(asking(&[]), "/spec/volumes", json!([{ "name": "hotcert-token", "emptyDir": {} }]));
    assert_eq!(refusal(&pod)[0].location, "volume hotcert-token");
    for name in ["hotcert-identity", "hotcert-token"] {
        let mount = json!([{ "name": name, "mountPath": "/key" }]);
        let pod = with(asking(&[]), "/spec/containers/0/volumeMounts", mount);
        assert_eq!(refusal(&pod)[0].location, "container app");
        assert!(refusal(&pod)[0].message.contains(name));
    }
}
