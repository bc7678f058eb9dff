//! What a scenario puts into a cluster: namespaces, accounts and their rights, and Secrets.

use std::fmt::Debug;
use std::path::PathBuf;

use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::core::v1::{Namespace, Pod, Secret, ServiceAccount};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::{ByteString, NamespaceResourceScope};
use kube::api::{Api, DeleteParams, PostParams};
use kube::{Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{ApiServer, files};
use crate::pki::{Pair, write};
use crate::until;

/// A ServiceAccount, and how a program says that it is this account.
pub struct Account {
    pub namespace: String,
    pub name: String,
    /// Names `token_file`.
    pub kubeconfig: PathBuf,
    /// May be written anew, as kubelet does.
    pub token_file: PathBuf,
}

impl Account {
    /// Replaces the token, whole.
    pub fn write_token(&self, token: &str) {
        let half = write(&self.token_file.with_extension("new"), token);
        std::fs::rename(half, &self.token_file).unwrap();
    }
}

impl ApiServer {
    /// The objects of one kind in one namespace, as the admin.
    pub fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.admin(), namespace)
    }

    /// Creates one namespaced object.
    #[track_caller]
    pub fn create<K>(&self, namespace: &str, object: Value) -> K
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
        K: Clone + Debug + DeserializeOwned + Serialize,
    {
        let object = serde_json::from_value(object).unwrap();
        self.run(self.api::<K>(namespace).create(&PostParams::default(), &object)).unwrap()
    }

    /// Creates a namespace, and the account `default` that a controller would put into it.
    pub fn namespace(&self, name: &str) {
        let namespace = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
        self.run(Api::<Namespace>::all(self.admin()).create(&PostParams::default(), &namespace)).unwrap();
        self.account(name, "default");
    }

    /// Creates a ServiceAccount without any rights, and a kubeconfig with a token for it.
    pub fn service_account(&self, namespace: &str, name: &str) -> Account {
        self.account(namespace, name);
        let path = |suffix: &str| self.path(&format!("{namespace}-{name}.{suffix}"));
        let token_file = write(&path("token"), self.token(namespace, name, None));
        let user = json!({"tokenFile": token_file});
        let kubeconfig = files::kubeconfig(&path("kubeconfig"), self.address, self.ca(), user);
        Account { namespace: namespace.into(), name: name.into(), kubeconfig, token_file }
    }

    /// Creates a ServiceAccount, with the token Secret that admission wants to see before Kubernetes 1.24,
    /// and waits until a pod may run as it.
    fn account(&self, namespace: &str, name: &str) {
        let token = format!("{name}-token");
        let account = json!({"metadata": {"name": name}, "secrets": [{"name": token}]});
        let uid = self.create::<ServiceAccount>(namespace, account).uid();
        let of =
            json!({"kubernetes.io/service-account.name": name, "kubernetes.io/service-account.uid": uid});
        let metadata = json!({"name": token, "annotations": of});
        let secret = json!({"metadata": metadata, "type": "kubernetes.io/service-account-token"});
        self.create::<Secret>(namespace, secret);
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "nobody", "labels": {"hotcert.dev/inject": "disabled"}},
            "spec": {"serviceAccountName": name, "containers": [{"name": "app", "image": "app"}]},
        }))
        .unwrap();
        let (pods, params) = (self.api::<Pod>(namespace), PostParams { dry_run: true, ..Default::default() });
        until("admission to know the account", || self.run(pods.create(&params, &pod)).ok());
    }

    /// A token for a ServiceAccount. One that is bound to an object is worth nothing once the object
    /// is deleted; the API server may take ten seconds to see it.
    pub fn token(&self, namespace: &str, account: &str, bound: Option<&Secret>) -> String {
        let bound_object_ref = bound.map(|secret| BoundObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Secret".into()),
            name: secret.metadata.name.clone(),
            uid: secret.uid(),
        });
        let spec = TokenRequestSpec { bound_object_ref, ..Default::default() };
        let request = TokenRequest { spec: Some(spec), ..Default::default() };
        let accounts = self.api::<ServiceAccount>(namespace);
        let made = self.run(accounts.create_token_request(account, &PostParams::default(), &request));
        made.unwrap().status.and_then(|status| status.token).expect("a token")
    }

    /// Lets the account get, list and watch this one Secret, and waits until the API server agrees.
    pub fn grant(&self, account: &Account, secret: &str) {
        self.grant_verbs(account, secret, &["get", "list", "watch"]);
    }

    /// The same for some verbs only.
    pub fn grant_verbs(&self, account: &Account, secret: &str, verbs: &[&str]) {
        let name = role(secret);
        let rule = json!({
            "apiGroups": [""], "resources": ["secrets"], "resourceNames": [secret], "verbs": verbs,
        });
        self.create::<Role>(&account.namespace, json!({"metadata": {"name": name}, "rules": [rule]}));
        let binding = json!({
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": account.name, "namespace": account.namespace}],
        });
        self.create::<RoleBinding>(&account.namespace, binding);
        until("the grant to count", || {
            verbs.iter().all(|verb| self.allows(account, verb, secret)).then_some(())
        });
    }

    /// Takes back what `grant` gave, and waits until the API server agrees.
    pub fn revoke(&self, account: &Account, secret: &str) {
        self.delete::<RoleBinding>(&account.namespace, &role(secret));
        self.delete::<Role>(&account.namespace, &role(secret));
        until("the grant not to count", || (!self.allows(account, "get", secret)).then_some(()));
    }

    fn allows(&self, account: &Account, verb: &str, secret: &str) -> bool {
        let Account { namespace, name, .. } = account;
        let asked = json!({"namespace": namespace, "verb": verb, "resource": "secrets", "name": secret});
        let user = format!("system:serviceaccount:{namespace}:{name}");
        let review = json!({"metadata": {}, "spec": {"user": user, "resourceAttributes": asked}});
        let reviews = Api::<SubjectAccessReview>::all(self.admin());
        let review = serde_json::from_value(review).unwrap();
        let answer = self.run(reviews.create(&PostParams::default(), &review)).unwrap();
        answer.status.is_some_and(|status| status.allowed)
    }

    /// Creates or replaces a `kubernetes.io/tls` Secret, and returns what the API server made of it.
    pub fn publish(
        &self,
        namespace: &str,
        name: &str,
        pair: &Pair,
        roots: &str,
        revision: Option<u64>,
    ) -> Secret {
        let revision = revision.map(|revision| revision.to_string());
        let mut files = vec![("tls.crt", pair.cert.as_str()), ("tls.key", &pair.key), ("ca.crt", roots)];
        files.extend(revision.as_deref().map(|revision| ("revision", revision)));
        self.publish_files(namespace, name, &files)
    }

    /// The same with any content; it needs a `tls.crt` and a `tls.key`, of any kind.
    pub fn publish_files(&self, namespace: &str, name: &str, files: &[(&str, &str)]) -> Secret {
        let bytes = |(name, content): &(&str, &str)| (name.to_string(), ByteString((*content).into()));
        let secret = Secret {
            metadata: ObjectMeta { name: Some(name.into()), ..Default::default() },
            type_: Some("kubernetes.io/tls".into()),
            data: Some(files.iter().map(bytes).collect()),
            ..Default::default()
        };
        let (secrets, params) = (self.api::<Secret>(namespace), PostParams::default());
        match self.run(secrets.create(&params, &secret)) {
            Err(kube::Error::Api(status)) if status.code == 409 => {
                self.run(secrets.replace(name, &params, &secret)).unwrap()
            }
            created => created.unwrap(),
        }
    }

    /// Deletes one namespaced object.
    #[track_caller]
    pub fn delete<K>(&self, namespace: &str, name: &str)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
        K: Clone + Debug + DeserializeOwned,
    {
        self.run(self.api::<K>(namespace).delete(name, &DeleteParams::default())).unwrap();
    }
}

fn role(secret: &str) -> String {
    format!("hotcert-agent-{secret}")
}
