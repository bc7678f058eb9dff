//! A cluster's objects as a person changes them, who may do anything.

use std::collections::BTreeMap;

use hotcert::api::object_name::ObjectName;
use hotcert::api::resource::{
    CertificateAuthority, CertificateAuthoritySpec, ServiceCertificate, ServiceCertificateSpec,
};
use hotcert::store::{Editor, ObjectRef, StoreError};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::{Client, Error};
use serde_json::json;

use super::Hand;

pub struct ByHand {
    pub admin: Client,
    /// Where the roots to import are.
    pub system: String,
}

impl ByHand {
    fn secrets(&self, namespace: &str) -> Api<Secret> {
        Api::namespaced(self.admin.clone(), namespace)
    }

    async fn create_files(&self, namespace: &str, name: &str, files: &[(&str, &str)]) {
        let files: BTreeMap<_, _> = files.iter().copied().collect();
        let secret = json!({"metadata": {"name": name}, "stringData": files});
        let secret = serde_json::from_value(secret).unwrap();
        self.secrets(namespace).create(&PostParams::default(), &secret).await.unwrap();
    }
}

impl Editor for ByHand {
    async fn ask(&self, about: &ObjectRef, verb: &str, text: &str) -> Result<(), StoreError> {
        let key = format!("hotcert.dev/{verb}");
        let (patch, params) =
            (Patch::Merge(json!({"metadata": {"annotations": {key: text}}})), PatchParams::default());
        match about {
            ObjectRef::Authority(name) => {
                let all: Api<CertificateAuthority> = Api::all(self.admin.clone());
                answer(all.patch(name, &params, &patch).await)
            }
            ObjectRef::Certificate(ObjectName { namespace, name }) => {
                let all: Api<ServiceCertificate> = Api::namespaced(self.admin.clone(), namespace);
                answer(all.patch(name, &params, &patch).await)
            }
        }
    }

    async fn create_authority(&self, name: &str, spec: &CertificateAuthoritySpec) -> Result<(), StoreError> {
        let all: Api<CertificateAuthority> = Api::all(self.admin.clone());
        let object = CertificateAuthority::new(name, spec.clone());
        answer(all.create(&PostParams::default(), &object).await)
    }

    async fn create_certificate(
        &self,
        name: &ObjectName,
        spec: &ServiceCertificateSpec,
    ) -> Result<(), StoreError> {
        let all: Api<ServiceCertificate> = Api::namespaced(self.admin.clone(), &name.namespace);
        let object = ServiceCertificate::new(&name.name, spec.clone());
        answer(all.create(&PostParams::default(), &object).await)
    }

    async fn delete_authority(&self, name: &str) -> Result<(), StoreError> {
        let all: Api<CertificateAuthority> = Api::all(self.admin.clone());
        answer(all.delete(name, &DeleteParams::default()).await)
    }

    async fn delete_certificate(&self, name: &ObjectName) -> Result<(), StoreError> {
        let all: Api<ServiceCertificate> = Api::namespaced(self.admin.clone(), &name.namespace);
        answer(all.delete(&name.name, &DeleteParams::default()).await)
    }
}

impl Hand for ByHand {
    async fn delete_secret(&self, secret: &ObjectName) {
        self.secrets(&secret.namespace).delete(&secret.name, &DeleteParams::default()).await.unwrap();
    }

    async fn edit_secret(&self, secret: &ObjectName, file: &str, contents: &str) {
        let patch = Patch::Merge(json!({"stringData": {file: contents}}));
        let secrets = self.secrets(&secret.namespace);
        secrets.patch(&secret.name, &PatchParams::default(), &patch).await.unwrap();
    }

    async fn create_secret(&self, secret: &ObjectName, files: &[(&str, &str)]) {
        self.create_files(&secret.namespace, &secret.name, files).await;
    }

    async fn read_secret(&self, secret: &ObjectName, file: &str) -> String {
        let found = self.secrets(&secret.namespace).get(&secret.name).await.unwrap();
        String::from_utf8(found.data.unwrap()[file].0.clone()).unwrap()
    }

    async fn put_import(&self, name: &str, certificate: &str, key: &str) {
        self.create_files(&self.system, name, &[("tls.crt", certificate), ("tls.key", key)]).await;
    }
}

fn answer<T>(result: Result<T, Error>) -> Result<(), StoreError> {
    match result {
        Ok(_) => Ok(()),
        Err(Error::Api(status)) if status.code == 404 => Err(StoreError::Missing(status.message)),
        Err(Error::Api(status)) if status.code == 409 => Err(StoreError::Conflict(status.message)),
        Err(error) => Err(StoreError::Failed { what: "a request".into(), cause: error.to_string() }),
    }
}
