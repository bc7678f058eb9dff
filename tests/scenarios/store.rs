//! The store that is a cluster, before a real API server and with the rights that the manifests give and
//! no others: what any store promises, what its Secrets are like, and that a namespace without the right
//! holds up nothing but itself.

use std::time::{Duration, SystemTime};

use futures_util::FutureExt as _;
use hotcert::api::condition::{Condition, ConditionStatus, ConditionType, EventReason, Reason};
use hotcert::api::leaf_request::LeafRequest;
use hotcert::api::object_name::ObjectName;
use hotcert::api::resource::{AuthorityStatus, CertificateAuthority, CertificateStatus, RolloverStatus};
use hotcert::pki::authority::{Authority, AuthorityRequest};
use hotcert::pki::keyring::{Keyring, RootId};
use hotcert::planner::observed::{
    Certificate, KeyringState, Observed, Publication, Published, ResourceVersion,
};
use hotcert::store::kubernetes::KubernetesStore;
use hotcert::store::{Contents, EventRecord, LeafPem, ObjectRef, Store as _, StoreError, StoredVersion};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kit::client::both;
use kit::kube::{Account, ApiServer, SYSTEM};
use kit::store::{self, ByHand, NAMESPACE};
use kit::until;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

struct Cluster {
    store: KubernetesStore,
    server: ApiServer,
    _account: Account,
}

impl Cluster {
    fn start() -> Self {
        let (server, account) = ApiServer::with_hotcert(&["shop", "bank"]);
        Self::on(server, account)
    }

    fn on(server: ApiServer, account: Account) -> Self {
        let client = server.client(&account.kubeconfig);
        let start = async { KubernetesStore::start(client, SYSTEM.into(), true, Duration::from_millis(200)) };
        let store = server.run(start);
        Self { store, server, _account: account }
    }

    /// With an authority that names the namespace `shop`, and a certificate there.
    fn with_a_certificate() -> Self {
        let cluster = Self::start();
        cluster.apply(authority("root-prod-shop", json!({"namespaces": ["shop", "bank"]})));
        cluster.apply(certificate("shop", "mtls-prod-payments", json!({})));
        cluster.until("the certificate seen", |observed| observed.certificates.get(&payments()).cloned());
        cluster
    }

    #[track_caller]
    fn apply(&self, object: Value) {
        kubectl(&self.server, &["apply", "-f", "-"], &object.to_string());
    }

    #[track_caller]
    fn refused(&self, object: Value, said: &str) {
        let output = self.server.kubectl(&["apply", "-f", "-"], &object.to_string());
        assert!(!output.status.success() && both(&output).contains(said), "{said}: {}", both(&output));
    }

    fn look(&self) -> Observed {
        self.server.run(self.store.observe()).unwrap()
    }

    /// The next look in which it is so; a look is worth it when something changed.
    #[track_caller]
    fn until<T>(&self, what: &str, mut seen: impl FnMut(Observed) -> Option<T>) -> T {
        until(what, || {
            let found = seen(self.look());
            if found.is_none() {
                let changed = async {
                    let _ = tokio::time::timeout(Duration::from_millis(100), self.store.changed()).await;
                };
                self.server.run(changed);
            }
            found
        })
    }

    fn certificate(&self) -> Certificate {
        self.look().certificates[&payments()].as_ref().clone()
    }

    /// Over what is seen of it.
    fn report_authority(&self, name: &str, status: &AuthorityStatus) -> Result<(), StoreError> {
        let seen = self.look().authorities.get(name).map(|seen| seen.resource_version.clone());
        self.server.run(self.store.report_authority(name, status, &seen.unwrap_or_default()))
    }

    #[track_caller]
    fn publication(&self) -> Publication {
        match self.certificate().published {
            Published::Ours(publication) => publication,
            other => panic!("{other:?}"),
        }
    }
}

#[track_caller]
fn kubectl(server: &ApiServer, args: &[&str], input: &str) -> String {
    let output = server.kubectl(args, input);
    assert!(output.status.success(), "kubectl {args:?}: {}", both(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn payments() -> ObjectName {
    ObjectName::new("shop", "mtls-prod-payments")
}

fn authority(name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "hotcert.dev/v1alpha1", "kind": "CertificateAuthority", "metadata": {"name": name},
        "spec": spec,
    })
}

fn certificate(namespace: &str, name: &str, mut spec: Value) -> Value {
    if spec["authority"].is_null() {
        spec["authority"] = json!("root-prod-shop");
    }
    json!({
        "apiVersion": "hotcert.dev/v1alpha1", "kind": "ServiceCertificate",
        "metadata": {"namespace": namespace, "name": name}, "spec": spec,
    })
}

fn root() -> Authority {
    let request =
        AuthorityRequest { common_name: "root".into(), lifetime: 365 * DAY, ..AuthorityRequest::default() };
    Authority::create(&request, SystemTime::now()).unwrap()
}

fn kept(root: &Authority) -> StoredVersion {
    let request = LeafRequest {
        common_name: "payments".into(),
        dns_names: vec!["payments.shop.svc".into()],
        lifetime: DAY,
        ..LeafRequest::default()
    };
    let leaf = root.issue(&request, SystemTime::now()).unwrap();
    StoredVersion {
        certificate: leaf.certificate_pem,
        key: leaf.key_pem,
        root: RootId::of(root),
        bundle: None,
        made_for: "0123456789abcdef".into(),
        created_at: SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123),
        request: Some("r1".into()),
        copy_of: None,
    }
}

fn contents(kept: &StoredVersion, root: &Authority, revision: u64) -> Contents {
    Contents {
        leaf: Some(LeafPem { certificate: kept.certificate.clone(), key: kept.key.clone() }),
        bundle: root.certificate_pem().to_owned(),
        revision,
        version: 1,
        written_at: SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_456),
    }
}

#[track_caller]
fn overtaken<T: std::fmt::Debug>(result: Result<T, StoreError>) {
    assert!(matches!(result, Err(StoreError::Conflict(_))), "{result:?}");
}

#[test]
fn the_schema_refuses_nonsense_and_kubectl_shows_what_counts() {
    let cluster = Cluster::with_a_certificate();
    for (spec, said) in [
        (json!({"algorithm": "rsa1024"}), "spec.algorithm"),
        (json!({"history": -1}), "spec.history"),
        (json!({"history": 0}), "spec.history"),
        (json!({"lifetime": "soon"}), "spec.lifetime"),
        (json!({"renewBefore": "-3d"}), "spec.renewBefore"),
        (json!({"secretName": "Payments_TLS"}), "spec.secretName"),
        (json!({"dnsNames": [""]}), "spec.dnsNames"),
        (json!({"spiffeId": "https://example.com"}), "spec.spiffeId"),
        (json!({"authority": ""}), "spec.authority"),
    ] {
        cluster.refused(certificate("shop", "mtls-prod-nonsense", spec), said);
    }
    for (spec, said) in [
        (json!({}), "\"namespaces\""),
        (json!({"namespaces": []}), "spec.namespaces"),
        (json!({"namespaces": ["A b"]}), "spec.namespaces"),
        (json!({"namespaces": ["*"], "leafLifetimeMax": "1 fortnight"}), "spec.leafLifetimeMax"),
        (json!({"namespaces": ["*"], "import": {}}), "secretName"),
    ] {
        cluster.refused(authority("root-prod-nonsense", spec), said);
    }
    let full = json!({
        "algorithm": "p384", "history": 3, "lifetime": "90d", "renewBefore": "1h 30m", "secretName": "a.b-c",
        "dnsNames": ["a.shop.svc"], "spiffeId": "spiffe://cluster.local/ns/shop/sa/a",
    });
    cluster.apply(certificate("shop", "mtls-prod-full", full));

    let conditions = |ready: ConditionStatus| {
        vec![Condition {
            r#type: ConditionType::Ready,
            status: ready,
            reason: Reason::RootNotReady,
            ..Default::default()
        }]
    };
    let rollover = RolloverStatus { waiting_for: vec!["shop/payments-0".into()], ..Default::default() };
    let mut status = AuthorityStatus {
        phase: Some("Distributing".into()),
        certificates: Some(2),
        rollover: Some(rollover),
        conditions: conditions(ConditionStatus::True),
        ..Default::default()
    };
    cluster.report_authority("root-prod-shop", &status).unwrap();
    assert_eq!(cluster.look().authorities["root-prod-shop"].status, status, "in the next look");
    let shown = kubectl(&cluster.server, &["get", "hca"], "");
    for word in ["PHASE", "Distributing", "WAITING FOR", "shop/payments-0", "CERTIFICATES", "EXPIRES"] {
        assert!(shown.contains(word), "{word} in\n{shown}");
    }
    // What a status does not say any more is not left standing.
    (status.phase, status.rollover) = (Some("Steady".into()), None);
    cluster.report_authority("root-prod-shop", &status).unwrap();
    let shown = kubectl(&cluster.server, &["get", "hca"], "");
    assert!(shown.contains("Steady") && !shown.contains("payments-0"), "{shown}");

    let status = CertificateStatus {
        secret_name: Some("payments-tls".into()),
        version: Some(4),
        not_after: Some("2999-01-01T00:00:00Z".into()),
        conditions: conditions(ConditionStatus::False),
        ..Default::default()
    };
    let over = cluster.certificate().resource_version;
    cluster.server.run(cluster.store.report_certificate(&payments(), &status, &over)).unwrap();
    assert_eq!(cluster.certificate().status, status);
    let shown = kubectl(&cluster.server, &["get", "hcert", "-n", "shop"], "");
    for word in ["READY", "SERVED", "False", "payments-tls", "4", "RootNotReady"] {
        assert!(shown.contains(word), "{word} in\n{shown}");
    }
    let missing = cluster.report_authority("nobody", &AuthorityStatus::default());
    assert!(matches!(missing, Err(StoreError::Missing(_))), "{missing:?}");

    // An Event may get lost, while the API server still learns of the right to write one.
    let about = [
        (ObjectRef::Certificate(payments()), "shop", "servicecertificate"),
        (ObjectRef::Authority("root-prod-shop".into()), "default", "certificateauthority"),
    ];
    for (about, namespace, kind) in about {
        let news = EventRecord {
            object: about,
            warning: true,
            reason: EventReason::NotServed,
            message: "nobody serves it".into(),
        };
        until("the event", || {
            cluster.server.run(cluster.store.record_event(&news));
            let shown = kubectl(&cluster.server, &["get", "events", "-n", namespace], "");
            (shown.contains("nobody serves it") && shown.contains(kind)).then_some(())
        });
    }

    let annotate = ["annotate", "hcert", "-n", "shop", "mtls-prod-payments", "hotcert.dev/rollback=r7 to=2"];
    kubectl(&cluster.server, &annotate, "");
    let request = cluster.until("the request", |observed| {
        observed.certificates[&payments()].requests.get("rollback").cloned()
    });
    assert_eq!((request.id.as_str(), request.arguments.as_str()), ("r7", "to=2"));
}

#[test]
fn it_keeps_what_any_store_promises() {
    let (server, account) = ApiServer::with_hotcert(&[NAMESPACE]);
    // The right to leave hints.
    server.apply("overlays/notifications/receiver.yaml");
    let client = server.client(&account.kubeconfig);
    let hand = ByHand { admin: server.admin(), system: SYSTEM.into() };
    // Without a deadline for all of them: each promise has its own.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let kept = KubernetesStore::start(client, SYSTEM.into(), true, Duration::from_millis(200));
        macro_rules! at_once {
            ($($promise:ident)*) => {
                vec![$(store::$promise(&kept, &hand).boxed_local()),*]
            };
        }
        futures_util::future::join_all(kit::every_promise_of_a_store!(at_once)).await;
    });
}

#[test]
fn a_keyring_is_a_secret_of_its_own_kind_and_is_not_written_over_when_it_is_spoilt() {
    let cluster = Cluster::with_a_certificate();
    let (run, store) = (&cluster.server, &cluster.store);
    let name = "root-prod-shop";
    let held = |observed: &Observed| observed.authorities[name].keyring.clone();
    run.run(store.put_keyring(name, &Keyring::new(root()), None)).unwrap();

    // Spoilt by hand: nothing is written over it, and it comes back when it is mended.
    let secrets = run.api::<Secret>(SYSTEM);
    let object = run.run(secrets.get("hotcert-ca-root-prod-shop")).unwrap();
    assert_eq!(
        (object.type_.as_deref(), object.metadata.owner_references),
        (Some("hotcert.dev/keyring"), None)
    );
    let state = |text: &[u8]| {
        let value = k8s_openapi::ByteString(text.to_vec());
        let patch = Patch::Merge(json!({"data": {"state.json": value}}));
        run.run(secrets.patch("hotcert-ca-root-prod-shop", &PatchParams::default(), &patch)).unwrap();
    };
    state(b"{}");
    let why = cluster.until("an unreadable keyring", |observed| match held(&observed) {
        KeyringState::Unreadable(why) => Some(why),
        _ => None,
    });
    assert!(why.contains("hotcert-ca-root-prod-shop") && why.contains("state.json"), "{why}");
    let malformed = run.run(store.keyring(name));
    assert!(matches!(malformed, Err(StoreError::Malformed { .. })), "{malformed:?}");
    state(&object.data.unwrap()["state.json"].0);
    cluster.until("the keyring back", |observed| {
        matches!(held(&observed), KeyringState::Present(_)).then_some(())
    });

    let wanted = Patch::Merge(json!({"spec": {"import": {"secretName": "own-root"}}}));
    run.run(Api::<CertificateAuthority>::all(run.admin()).patch(name, &PatchParams::default(), &wanted))
        .unwrap();
    let import = |observed: &Observed| observed.authorities[name].import.clone();
    let missing = cluster.until("what is to be imported", |observed| import(&observed));
    assert!(missing.unwrap_err().contains("there is no Secret own-root"));
}

#[test]
fn versions_cannot_be_changed_and_a_target_is_mended_but_for_what_others_wrote_beside_it() {
    let cluster = Cluster::with_a_certificate();
    let (run, store, name) = (&cluster.server, &cluster.store, payments());
    let root = root();
    let version = kept(&root);
    run.run(store.create_version(&name, 1, &version)).unwrap();
    let seen = cluster.certificate();
    let secrets = run.api::<Secret>("shop");
    let object = run.run(secrets.get("mtls-prod-payments.v1")).unwrap();
    assert_eq!(
        (object.immutable, &object.metadata.owner_references.unwrap()[0].uid),
        (Some(true), &seen.uid)
    );
    let edit = Patch::Merge(json!({"data": {"tls.key": "YQ=="}}));
    let edited = run.run(secrets.patch("mtls-prod-payments.v1", &PatchParams::default(), &edit));
    assert!(edited.unwrap_err().to_string().contains("immutable"));
    let nobody = run.run(store.create_version(&ObjectName::new("shop", "mtls-prod-nobody"), 1, &version));
    assert!(matches!(nobody, Err(StoreError::Missing(_))), "{nobody:?}");

    let publish = |revision: u64, over: Option<&ResourceVersion>| {
        run.run(store.publish(&name, "payments-tls", &contents(&version, &root, revision), over))
    };
    publish(1, None).unwrap();
    let first = cluster.publication();
    let edit = Patch::Merge(json!({"data": {"tls.key": "YQ=="}, "metadata": {"labels": {"team": "a"}}}));
    run.run(secrets.patch("payments-tls", &PatchParams::default(), &edit)).unwrap();
    let edited = cluster.until("the edit", |observed| match &observed.certificates[&name].published {
        Published::Ours(publication) if publication.fingerprint != first.fingerprint => {
            Some(publication.clone())
        }
        _ => None,
    });
    publish(2, Some(&edited.resource_version)).unwrap();
    let mended = run.run(secrets.get("payments-tls")).unwrap();
    assert_eq!(mended.metadata.labels.unwrap()["team"], "a", "what others wrote beside it stays");

    // The certificate goes, and what pods serve stays.
    kubectl(&cluster.server, &["delete", "hcert", "-n", "shop", "mtls-prod-payments"], "");
    let orphan = cluster.until("an orphan", |observed| {
        observed.watched_secrets.get(&ObjectName::new("shop", "payments-tls")).cloned()
    });
    assert!(orphan.orphan && orphan.leaf.is_some());
    run.run(secrets.get("payments-tls")).unwrap();
}

#[test]
fn secrets_of_others_are_watched_if_they_ask_and_never_written() {
    let cluster = Cluster::with_a_certificate();
    let (run, name) = (&cluster.server, payments());
    let root = root();
    let version = kept(&root);
    let publish =
        || run.run(cluster.store.publish(&name, "payments-tls", &contents(&version, &root, 1), None));
    let theirs = |name: &str, labels: Value| {
        let data = json!({"tls.crt": version.certificate, "tls.key": "theirs"});
        let metadata = json!({"name": name, "labels": labels});
        run.create::<Secret>(
            "shop",
            json!({"metadata": metadata, "type": "kubernetes.io/tls", "stringData": data}),
        )
    };
    theirs("payments-tls", json!({"app.kubernetes.io/managed-by": "Helm"}));
    overtaken(publish());
    let Published::OwnedByOther(whose) = cluster.certificate().published else { panic!("not foreign") };
    assert!(whose.contains("Helm"), "{whose}");
    let secrets = run.api::<Secret>("shop");
    assert_eq!(run.run(secrets.get("payments-tls")).unwrap().data.unwrap()["tls.key"].0, b"theirs");
    run.run(secrets.delete("payments-tls", &DeleteParams::default())).unwrap();
    cluster.until("the way free", |observed| {
        matches!(observed.certificates[&name].published, Published::Absent).then_some(())
    });
    publish().unwrap();
    cluster.publication();

    theirs("from-cert-manager", json!({"hotcert.dev/watch": "true"}));
    let watched = ObjectName::new("shop", "from-cert-manager");
    let found = cluster.until("it watched", |observed| observed.watched_secrets.get(&watched).cloned());
    assert!(!found.orphan && found.leaf.is_some());
    run.run(secrets.delete("from-cert-manager", &DeleteParams::default())).unwrap();
    cluster.until("it gone", |observed| (!observed.watched_secrets.contains_key(&watched)).then_some(()));
}

#[test]
fn a_namespace_without_its_role_binding_is_closed_until_it_is_bound_and_others_go_on() {
    let cluster = Cluster::with_a_certificate();
    let name = ObjectName::new("bank", "mtls-prod-ledger");
    cluster.apply(certificate("bank", "mtls-prod-ledger", json!({})));
    let why =
        cluster.until("a closed namespace", |observed| match &observed.certificates.get(&name)?.published {
            Published::Inaccessible(why) => Some(why.clone()),
            _ => None,
        });
    let (_, command) = why.split_once("kubectl ").expect("what to do about it");
    assert!(matches!(cluster.certificate().published, Published::Absent), "the other goes on");
    let root = root();
    let version = kept(&root);
    let keep = || cluster.server.run(cluster.store.create_version(&name, 1, &version));
    let refused = keep();
    assert!(
        matches!(&refused, Err(StoreError::Failed { cause, .. }) if cause.contains("403")),
        "{refused:?}"
    );

    let command: Vec<_> = command.split_whitespace().collect();
    kubectl(&cluster.server, &command, "");
    cluster.until("an open namespace", |observed| {
        matches!(observed.certificates[&name].published, Published::Absent).then_some(())
    });
    keep().unwrap();
    assert_eq!(cluster.look().certificates[&name].versions.len(), 1);
}

/// Watches of the Secrets of one namespace each.
fn namespaced_watches(server: &ApiServer) -> usize {
    let metrics = kubectl(server, &["get", "--raw", "/metrics"], "");
    let of_namespaces = |line: &&str| {
        line.starts_with("apiserver_longrunning_")
            && ["resource=\"secrets\"", "scope=\"namespace\"", "verb=\"WATCH\""]
                .iter()
                .all(|label| line.contains(label))
    };
    let counts = metrics
        .lines()
        .filter(of_namespaces)
        .filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok());
    counts.sum()
}

#[test]
fn with_the_right_to_all_namespaces_they_are_watched_together_and_one_that_comes_later_as_well() {
    let (server, account) = ApiServer::with_hotcert(&["shop", "bank"]);
    let bound = ["clusterrolebinding", "hotcert"];
    let to = ["--clusterrole=hotcert-namespace", "--serviceaccount=hotcert-system:hotcert-controller"];
    kubectl(&server, &[&["create"], &bound[..], &to[..]].concat(), "");
    let namespaces = json!({"namespaces": ["shop", "bank", "later"]});
    for object in
        [authority("root-prod-shop", namespaces), certificate("bank", "mtls-prod-ledger", json!({}))]
    {
        kubectl(&server, &["apply", "-f", "-"], &object.to_string());
    }
    let cluster = Cluster::on(server, account);
    let run = &cluster.server;
    let version = kept(&root());
    let watch = |namespace: &str| {
        let data = json!({"tls.crt": version.certificate, "tls.key": "theirs"});
        let metadata = json!({"name": "theirs", "labels": {"hotcert.dev/watch": "true"}});
        let object = json!({"metadata": metadata, "type": "kubernetes.io/tls", "stringData": data});
        run.create::<Secret>(namespace, object);
        let name = ObjectName::new(namespace, "theirs");
        cluster.until(&format!("the Secret in {namespace}"), |observed| {
            observed.watched_secrets.contains_key(&name).then_some(())
        });
    };
    watch("shop");
    watch("bank");
    run.namespace("later");
    watch("later");
    // Of the control plane's own namespace.
    assert_eq!(namespaced_watches(run), 1, "each namespace has a watch of its own");
    run.namespace("last");
    let theirs = json!({"metadata": {"name": "theirs", "labels": {"hotcert.dev/watch": "true"}}});
    run.create::<Secret>("last", theirs);
    cluster.apply(certificate("last", "mtls-prod-last", json!({})));
    let of_last = ObjectName::new("last", "theirs");
    let is_seen = |observed: Observed| observed.watched_secrets.contains_key(&of_last).then_some(());
    cluster.until("a Secret that was there before its namespace was of interest", is_seen);
    run.delete::<Secret>("last", "theirs");
    cluster.until("it gone", |observed| (!observed.watched_secrets.contains_key(&of_last)).then_some(()));

    kubectl(run, &[&["delete"], &bound[..]].concat(), "");
    let account = "system:serviceaccount:hotcert-system:hotcert-controller";
    until("the right gone", || {
        let may = run.kubectl(&["auth", "can-i", "list", "secrets", "-n", "bank", "--as", account], "");
        both(&may).contains("no").then_some(())
    });
    run.run(cluster.store.relist());
    let ledger = ObjectName::new("bank", "mtls-prod-ledger");
    cluster.until("a namespace without a RoleBinding closed", |observed| {
        matches!(observed.certificates.get(&ledger)?.published, Published::Inaccessible(_)).then_some(())
    });
    let of_shop = ObjectName::new("shop", "theirs");
    cluster.until("the other open", |observed| observed.watched_secrets.contains_key(&of_shop).then_some(()));
}

/// The roles of release 0.2 have no `patch` on Secrets.
#[test]
fn bundle_is_written_with_the_roles_of_0_2() {
    let cluster = Cluster::with_a_certificate();
    let run = &cluster.server;
    let rules = kubectl(run, &["get", "clusterrole", "hotcert-namespace", "-o", "json"], "");
    let mut role: Value = serde_json::from_str(&rules).unwrap();
    for rule in role["rules"].as_array_mut().unwrap() {
        if rule["resources"] == json!(["secrets"]) {
            rule["verbs"] = json!(["get", "list", "watch", "create", "update", "delete"]);
        }
    }
    kubectl(run, &["replace", "-f", "-"], &role.to_string());
    let account = "system:serviceaccount:hotcert-system:hotcert-controller";
    until("the right gone", || {
        let may = run.kubectl(&["auth", "can-i", "patch", "secrets", "-n", "shop", "--as", account], "");
        both(&may).contains("no").then_some(())
    });
    let root = root();
    let kept = kept(&root);
    let publish = |contents: &Contents, over: Option<&ResourceVersion>| {
        run.run(cluster.store.publish(&payments(), "payments-tls", contents, over)).unwrap();
        cluster.publication()
    };
    let seen = publish(&contents(&kept, &root, 1), None);
    let theirs = json!({"metadata": {"labels": {"team": "a"}}, "data": {"ca.crl": "bGlzdHM="}});
    let secrets = run.api::<Secret>("shop");
    run.run(secrets.patch("payments-tls", &PatchParams::default(), &Patch::Merge(theirs))).unwrap();
    let over = cluster.until("the lists", |observed| match &observed.certificates[&payments()].published {
        Published::Ours(now) if now.resource_version != seen.resource_version => {
            Some(now.resource_version.clone())
        }
        _ => None,
    });
    let again = publish(&Contents { leaf: None, ..contents(&kept, &root, 2) }, Some(&over));
    assert_eq!((again.revision, &again.fingerprint), (2, &seen.fingerprint));
    let secret = run.run(secrets.get("payments-tls")).unwrap();
    assert_eq!(secret.metadata.labels.unwrap()["team"], "a");
    assert_eq!(secret.data.unwrap()["ca.crl"].0, b"lists");
}

#[test]
fn the_pods_that_serve_a_secret_are_listed_and_nudged() {
    let cluster = Cluster::with_a_certificate();
    let (run, store) = (&cluster.server, &cluster.store);
    let pod = |name: &str, node: Option<&str>, secret: &str, agent: bool| {
        let mut pod = json!({
            "metadata": {"name": name, "annotations": {"hotcert.dev/secret": secret}},
            "spec": {
                "nodeName": node, "containers": [{"name": "app", "image": "app:1"}],
                "volumes": [{"name": "tls", "secret": {"secretName": secret}}],
            },
        });
        if agent {
            let environment = json!([{"name": "HOTCERT_SECRET", "value": secret}]);
            let agent = json!({"name": "hotcert-agent", "image": "a:1", "env": environment});
            pod["spec"]["containers"].as_array_mut().unwrap().push(agent);
        }
        run.create::<Pod>("shop", pod);
        let status = Patch::Merge(json!({"status": {"phase": "Running", "podIP": "10.1.2.3"}}));
        let pods = run.api::<Pod>("shop");
        run.run(pods.patch_status(name, &PatchParams::default(), &status)).unwrap();
    };
    pod("with-agent", Some("node-1"), "payments-tls", true);
    pod("without-agent", Some("node-1"), "payments-tls", false);
    pod("unscheduled", None, "payments-tls", true);
    pod("another", Some("node-1"), "others-tls", true);
    pod("ended", Some("node-1"), "payments-tls", true);
    let ended = Patch::Merge(json!({"status": {"phase": "Succeeded"}}));
    run.run(run.api::<Pod>("shop").patch_status("ended", &PatchParams::default(), &ended)).unwrap();

    let namespaces = ["shop", "bank"].map(str::to_owned).into();
    let looks = run.run(store.pods(&namespaces));
    let problem = looks["bank"].error.as_deref().unwrap();
    assert!(problem.contains("403"), "{problem}");
    let mut pods = looks["shop"].pods.clone();
    pods.sort_by(|a, b| a.name.cmp(&b.name));
    let names: Vec<_> = pods.iter().map(|pod| pod.name.as_str()).collect();
    assert_eq!(names, ["with-agent", "without-agent"]);
    let agent = pods[0].agent.as_ref().unwrap();
    assert_eq!((agent.watches_api, agent.address), (true, Some("10.1.2.3:9643".parse().unwrap())));
    assert!(pods[0].serves("payments-tls") && !pods[1].serves("payments-tls"));
    assert!(pods[1].mounted_secrets.contains("payments-tls"));

    assert!(cluster.look().nudge);
    run.run(store.nudge(&ObjectName::new("shop", "with-agent"), 9)).unwrap();
    let looks = run.run(store.pods(&namespaces));
    let nudged: Vec<_> = looks["shop"].pods.iter().filter_map(|pod| pod.nudged_revision).collect();
    assert_eq!(nudged, [9]);
    let gone = run.run(store.nudge(&ObjectName::new("shop", "gone"), 9));
    assert!(matches!(gone, Err(StoreError::Missing(_))), "{gone:?}");
}

/// The watches learn of nothing that happens while they are down, and what they would go on from is too old.
#[test]
fn deletions_and_writes_while_nothing_is_watched_are_seen_after_a_410() {
    let mut cluster = Cluster::with_a_certificate();
    let (name, orders) = (payments(), ObjectName::new("shop", "mtls-prod-orders"));
    cluster.apply(certificate("shop", "mtls-prod-orders", json!({})));
    cluster.until("the other certificate", |observed| observed.certificates.get(&orders).cloned());
    let root = root();
    let version = kept(&root);
    for name in [&name, &orders] {
        cluster.server.run(cluster.store.create_version(name, 1, &version)).unwrap();
    }
    let contents = contents(&version, &root, 1);
    cluster.server.run(cluster.store.publish(&name, "payments-tls", &contents, None)).unwrap();
    let of_orders = cluster.look().certificates[&orders].clone();

    cluster.server.kill();
    cluster.server.compact();
    cluster.server.start_again();
    let secrets = cluster.server.api::<Secret>("shop");
    cluster.server.run(secrets.delete("payments-tls", &DeleteParams::default())).unwrap();
    kubectl(&cluster.server, &["delete", "hcert", "-n", "shop", "mtls-prod-orders"], "");
    until("another version stored", || {
        match cluster.server.run(cluster.store.create_version(&name, 2, &version)) {
            Ok(()) | Err(StoreError::Conflict(_)) => Some(()),
            Err(_) => None,
        }
    });
    cluster.until("all of it", |observed| {
        let seen = observed.certificates.get(&name)?;
        let is_absent = matches!(seen.published, Published::Absent);
        (is_absent && seen.versions.len() == 2 && !observed.certificates.contains_key(&orders)).then_some(())
    });
    // What is written now names what is gone.
    let over = &of_orders.resource_version;
    let late = cluster.server.run(cluster.store.report_certificate(&orders, &of_orders.status, over));
    assert!(matches!(late, Err(StoreError::Missing(_))), "{late:?}");
    assert!(!cluster.look().certificates.contains_key(&orders));

    // A certificate of that name is another object.
    cluster.apply(certificate("shop", "mtls-prod-orders", json!({})));
    let again = cluster.until("it made again", |observed| observed.certificates.get(&orders).cloned());
    assert_ne!(again.uid, of_orders.uid);
    overtaken(cluster.server.run(cluster.store.report_certificate(&orders, &of_orders.status, over)));
}
