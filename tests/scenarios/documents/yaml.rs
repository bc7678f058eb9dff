//! The YAML of the documents, given to the programs that read it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use kit::agent::{Launch, program};
use kit::client::both;
use kit::kube::ApiServer;
use kit::pki::{Pki, write};
use kit::until;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::block::{Block, Marker, repository, with};

fn parse(block: &Block) -> Vec<Value> {
    serde_saphyr::from_multiple(&block.text)
        .unwrap_or_else(|fault| panic!("{}:{}: {fault}", block.page, block.line))
}

fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("{pointer} in {value:#}"))
}

#[test]
fn an_api_server_takes_the_objects() {
    let (server, _account) = ApiServer::with_hotcert(&["shop"]);
    for block in with(Marker::YamlObjects) {
        let output =
            server.kubectl(&["apply", "--dry-run=server", "--validate=true", "-f", "-"], &block.text);
        assert!(output.status.success(), "{}:{}: {}", block.page, block.line, both(&output));
    }
}

/// Of a schema only half is known to an API server: the rest is what the controller says.
#[test]
fn the_controller_takes_the_objects() {
    for block in with(Marker::YamlObjects) {
        let home = TempDir::new().unwrap();
        let mut names = Vec::new();
        for object in parse(&block).iter().filter(|object| object["apiVersion"] == "hotcert.dev/v1alpha1") {
            let name = text(object, "/metadata/name");
            let folder = match text(object, "/kind") {
                "CertificateAuthority" => "authorities".to_owned(),
                _ => format!("certificates/{}", text(object, "/metadata/namespace")),
            };
            std::fs::create_dir_all(home.path().join(&folder)).unwrap();
            write(&home.path().join(format!("{folder}/{name}.yaml")), object.to_string());
            names.push(name.to_owned());
        }
        if names.is_empty() {
            continue;
        }
        let _controller = Launch::controller_on(home.path(), 1).start();
        let reasons = until("a condition of every object", || {
            let reasons = reasons(home.path());
            names.iter().all(|name| reasons.contains_key(name)).then_some(reasons)
        });
        let wrong: Vec<_> = reasons.iter().filter(|(_, said)| said.starts_with("Invalid")).collect();
        assert!(wrong.is_empty(), "{}:{}: {wrong:?}", block.page, block.line);
    }
}

/// Of the condition Ready, by the object's name.
fn reasons(directory: &Path) -> BTreeMap<String, String> {
    let mut hotcert = Command::new(program("hotcert"));
    let output = hotcert.args(["status", "--json", "--dir"]).arg(directory).output().unwrap();
    let status: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let lists =
        ["authorities", "certificates"].map(|kind| status[kind].as_array().cloned().unwrap_or_default());
    let of = |object: &Value| {
        let conditions = object["status"]["conditions"].as_array()?;
        let ready = conditions.iter().find(|condition| condition["type"] == "Ready")?;
        Some((
            text(object, "/name").to_owned(),
            format!("{}: {}", text(ready, "/reason"), text(ready, "/message")),
        ))
    };
    lists.iter().flatten().filter_map(of).collect()
}

#[test]
fn the_annotations_of_pods_are_injected() {
    for block in with(Marker::YamlPod) {
        for template in parse(&block) {
            let deployment = json!({
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": { "name": "documented", "namespace": "shop" },
                "spec": { "template": {
                    "metadata": template["metadata"],
                    "spec": { "containers": [{ "name": "app", "image": "app:1" }] },
                } },
            });
            let output = inject(&deployment);
            let output = both(&output);
            assert!(output.contains("name: hotcert-agent"), "{}:{}: {output}", block.page, block.line);
            assert!(!output.contains("warning"), "{}:{}: {output}", block.page, block.line);
        }
    }
}

#[track_caller]
fn inject(object: &Value) -> Output {
    let home = TempDir::new().unwrap();
    let input = write(&home.path().join("input.yaml"), object.to_string());
    let mut inject = Command::new(program("hotcert"));
    let output =
        inject.arg("inject").stdin(Stdio::from(std::fs::File::open(input).unwrap())).output().unwrap();
    assert!(output.status.success(), "{}", both(&output));
    output
}

#[test]
fn the_controller_takes_the_settings() {
    for block in with(Marker::YamlSettings) {
        let (home, settings) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        // The files that the documents name.
        let file = |name: &str, content: &str| write(&settings.path().join(name), content);
        file("pager.key", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        file("token", "a-token-of-some-length");
        file("slack.url", "https://hooks.example/services/T/B/secret");
        let template = with(Marker::Text).into_iter().find(|block| block.text.contains("routing_key"));
        file("body.j2", &template.expect("the template of the document").text);
        file("ibm.key", "an-api-key");
        file("vault.token", "a-token");
        file("roots.pem", Pki::default().roots());
        let file = file("settings.yaml", &block.text);
        let controller =
            Launch::controller_on(home.path(), 1).args(["--notifications".as_ref(), file.as_os_str()]);
        let controller = controller.start();
        let refused = controller.metrics().one("hotcert_controller_notifications_config_rejected", &[]);
        assert_eq!(refused, 0.0, "{}:{}: {}", block.page, block.line, controller.log_text());
    }
}

#[test]
fn kubectl_renders_the_overlays() {
    for block in with(Marker::YamlKustomization) {
        let home = TempDir::new().unwrap();
        std::os::unix::fs::symlink(repository(), home.path().join("hotcert")).unwrap();
        let overlay = home.path().join("overlay");
        std::fs::create_dir(&overlay).unwrap();
        write(&overlay.join("kustomization.yaml"), &block.text);
        let output = Command::new("kubectl").arg("kustomize").arg(&overlay).output().unwrap();
        assert!(output.status.success(), "{}:{}: {}", block.page, block.line, both(&output));
    }
}

#[test]
fn what_other_programs_read_is_yaml() {
    with(Marker::YamlForeign).iter().for_each(|block| drop(parse(block)));
}
