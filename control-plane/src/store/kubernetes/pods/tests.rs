use serde_json::{Value, json};

use super::*;

fn read(change: impl FnOnce(&mut Value)) -> Option<Pod> {
    let mut pod = json!({
        "metadata": {
            "name": "payments-0", "uid": "u",
            "annotations": {"hotcert.dev/secret": "payments-tls", "hotcert.dev/nudged": "7"},
        },
        "spec": {
            "nodeName": "node",
            "volumes": [{"name": "a", "secret": {"secretName": "payments-tls"}}, {"name": "b", "emptyDir": {}}],
            "initContainers": [{
                "name": "hotcert-agent", "env": [{"name": "HOTCERT_SECRET", "value": "payments-tls"}],
            }],
            "containers": [{"name": "app"}],
        },
        "status": {"podIP": "10.0.0.9", "phase": "Running"},
    });
    change(&mut pod);
    let secrets = ["payments-tls", "other-tls"].map(str::to_owned).into();
    serde_json::from_value::<PodObject>(pod).unwrap().read(&secrets)
}

#[test]
fn a_pod_with_an_agent_says_where_it_proves_what() {
    let pod = read(|_| {}).unwrap();
    assert_eq!((pod.name.as_str(), pod.uid.as_str(), pod.nudged_revision), ("payments-0", "u", Some(7)));
    assert_eq!(pod.mounted_secrets, ["payments-tls".to_owned()].into());
    let agent = pod.agent.unwrap();
    assert_eq!((agent.secret.as_str(), agent.watches_api), ("payments-tls", true));
    assert_eq!(agent.address, Some("10.0.0.9:9643".parse().unwrap()));
}

#[test]
fn an_agent_that_has_no_secret_from_the_api_depends_on_the_volume() {
    for change in [
        |pod: &mut Value| pod["metadata"]["annotations"]["hotcert.dev/api"] = json!("disabled"),
        |pod: &mut Value| pod["spec"]["initContainers"][0]["env"] = json!([]),
    ] {
        assert!(!read(change).unwrap().agent.unwrap().watches_api);
    }
    let new = read(|pod| pod["status"] = json!({})).unwrap();
    assert_eq!(new.agent.unwrap().address, None);
}

#[test]
fn every_way_by_which_a_secret_comes_into_a_pod_counts() {
    let ways: [fn(&mut Value); 4] = [
        |pod| {
            pod["spec"]["volumes"] = json!([{"projected": {"sources": [{"secret": {"name": "other-tls"}}]}}])
        },
        |pod| pod["spec"]["containers"][0]["envFrom"] = json!([{"secretRef": {"name": "other-tls"}}]),
        |pod| {
            let from = json!({"secretKeyRef": {"name": "other-tls", "key": "tls.key"}});
            pod["spec"]["containers"][0]["env"] = json!([{"name": "KEY", "valueFrom": from}]);
        },
        |pod| pod["spec"]["volumes"] = json!([{"secret": {"secretName": "other-tls"}}]),
    ];
    for way in ways {
        let pod = read(|pod| {
            pod["spec"]["volumes"] = json!([]);
            pod["spec"]["initContainers"] = json!([]);
            way(pod);
        });
        let pod = pod.unwrap();
        assert_eq!((pod.mounted_secrets, pod.agent), (["other-tls".to_owned()].into(), None));
    }
}

#[test]
fn a_pod_that_is_nowhere_or_has_nothing_of_ours_is_left_out() {
    assert!(read(|pod| pod["spec"]["nodeName"] = Value::Null).is_none());
    let nothing = read(|pod| {
        pod["spec"]["volumes"] = json!([{"secret": {"secretName": "somebody-elses"}}]);
        pod["metadata"]["annotations"]["hotcert.dev/secret"] = json!("somebody-elses");
    });
    assert!(nothing.is_none());
}
