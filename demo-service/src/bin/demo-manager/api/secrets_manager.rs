//! The API of Secrets Manager (v2), as far as it is about certificates: what the service refuses is refused here.

use hotcert::external::manager::split_leaf;
use hyper::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{Api, Reply, date, join_chain, metadata, problem};
use crate::cloud::{CloudRequest, Metadata};

const GROUP: &str = "default";

#[derive(Deserialize)]
struct NewVersion {
    certificate: Option<String>,
    private_key: Option<String>,
    intermediate: Option<String>,
}

#[derive(Deserialize)]
struct NewSecret {
    name: String,
    secret_type: String,
    #[serde(default = "default_group")]
    secret_group_id: String,
    #[serde(flatten)]
    metadata: Metadata,
    #[serde(flatten)]
    version: NewVersion,
}

fn default_group() -> String {
    GROUP.to_owned()
}

impl Api {
    /// `path`: below `/api/v2`.
    pub(super) fn secrets_manager(
        &self,
        method: &Method,
        path: &[&str],
        body: &[u8],
    ) -> anyhow::Result<Reply> {
        let name = match (method.as_str(), path) {
            ("GET", ["secret_groups"]) => {
                let group = json!({"id": GROUP, "name": GROUP});
                return Ok((StatusCode::OK, json!({"secret_groups": [group], "total_count": 1})));
            }
            ("POST", ["secrets"]) => return self.create(serde_json::from_slice(body)?),
            ("GET", ["secret_groups", group, "secret_types", kind, "secrets", name]) => {
                let is_there =
                    *group == GROUP && self.inventory.exists(name)? && self.secret_type(name) == *kind;
                Some(*name).filter(|_| is_there)
            }
            (_, ["secrets", id, ..]) if !is_uuid(id) => {
                return Ok(problem(StatusCode::BAD_REQUEST, "the id of a secret is a UUID"));
            }
            (_, ["secrets", id, ..]) => match self.inventory.find(id) {
                Some(name) if self.inventory.exists(name)? => Some(name),
                _ => None,
            },
            _ => return Ok(problem(StatusCode::NOT_FOUND, "unknown path")),
        };
        let Some(name) = name else {
            return Ok(problem(StatusCode::NOT_FOUND, "the secret was not found"));
        };
        Ok(match (method.as_str(), path) {
            ("GET", ["secrets", _] | ["secret_groups", ..]) => (StatusCode::OK, self.secret(name)?),
            ("GET", ["secrets", _, "metadata"]) => (StatusCode::OK, self.secret_metadata(name)?),
            ("GET", ["secrets", _, "versions"]) => (StatusCode::OK, self.versions(name)?),
            ("DELETE", ["secrets", _]) => {
                self.inventory.delete(name)?;
                self.cloud.set_metadata(name, None)?;
                (StatusCode::NO_CONTENT, Value::Null)
            }
            ("POST", ["secrets", _, "versions"]) => {
                (StatusCode::CREATED, self.add_version(name, serde_json::from_slice(body)?)?)
            }
            _ => problem(StatusCode::METHOD_NOT_ALLOWED, "unsupported method or path"),
        })
    }

    /// Imports the first version of a secret, by its name.
    fn create(&self, secret: NewSecret) -> anyhow::Result<Reply> {
        let NewSecret { name, secret_type, secret_group_id, metadata, version } = secret;
        if secret_type != "imported_cert" || secret_group_id != GROUP {
            return Ok(problem(
                StatusCode::BAD_REQUEST,
                "only an imported_cert of the default group is created",
            ));
        }
        if !self.inventory.has(&name) {
            return Ok(problem(StatusCode::FORBIDDEN, "no secret of this name may be created"));
        }
        if self.inventory.exists(&name)? {
            return Ok(problem(StatusCode::CONFLICT, "a secret with this name exists already"));
        }
        self.add_version(&name, version)?;
        self.cloud.set_metadata(&name, Some(metadata))?;
        Ok((StatusCode::CREATED, self.secret_metadata(&name)?))
    }

    /// Without certificates and keys.
    fn secret_metadata(&self, name: &str) -> anyhow::Result<Value> {
        let mut secret = self.secret(name)?;
        if let Some(fields) = secret.as_object_mut() {
            let data =
                ["certificate", "intermediate", "private_key", "managed_csr", "issuing_ca", "ca_chain"];
            fields.retain(|field, _| !data.contains(&field.as_str()));
        }
        Ok(secret)
    }

    /// By type, group and a text in the name.
    pub(super) fn list_secrets(&self, request: &CloudRequest<'_>) -> anyhow::Result<Reply> {
        let has = |param: &str, value: &str| {
            request.param(param).is_none_or(|list| list.split(',').any(|item| item == value))
        };
        let mut secrets = Vec::new();
        for name in self.inventory.ids() {
            let is_meant = request.param("search").is_none_or(|search| name.contains(search))
                && has("groups", GROUP)
                && has("secret_types", self.secret_type(name));
            if is_meant && self.inventory.exists(name)? {
                secrets.push(self.secret_metadata(name)?);
            }
        }
        let (limit, offset) = (request.number("limit", 200), request.number("offset", 0));
        let page: Vec<_> = secrets.iter().skip(offset).take(limit).collect();
        let body = json!({
            "total_count": secrets.len(), "limit": limit, "offset": offset, "secrets": page,
            "first": {"href": ""}, "last": {"href": ""},
        });
        Ok((StatusCode::OK, body))
    }

    fn secret_type(&self, name: &str) -> &'static str {
        if self.inventory.issues(name) { "private_cert" } else { "imported_cert" }
    }

    fn secret(&self, name: &str) -> anyhow::Result<Value> {
        let mut secret = json!({
            "id": self.inventory.uuid(name),
            "name": name,
            "secret_group_id": GROUP,
            "secret_type": self.secret_type(name),
            "versions_total": self.inventory.numbers(name)?.len(),
        });
        let Metadata { description, labels } = self.cloud.metadata(name);
        secret["description"] = description.into();
        secret["labels"] = labels.into();
        let managed = self.inventory.managed_csr(name)?;
        let has_managed_csr = managed.is_some();
        if let Some((csr, key)) = managed {
            secret["managed_csr"] = json!({"csr": csr, "private_key": key.as_str()});
        }
        let Some(version) = self.inventory.newest(name)? else { return Ok(secret) };
        let (leaf, chain) = split_leaf(&version.certificate);
        secret["certificate"] = leaf.into();
        if !chain.is_empty() {
            secret["intermediate"] = chain.into();
        }
        if !has_managed_csr {
            secret["private_key"] = version.key.as_str().into();
        }
        secret["serial_number"] = version.leaf.serial.clone().into();
        secret["updated_at"] = date(version.created).into();
        secret["expiration_date"] = date(version.leaf.not_after).into();
        if self.inventory.issues(name) {
            secret["issuing_ca"] = self.inventory.root().into();
            secret["ca_chain"] = json!([self.inventory.root()]);
        }
        Ok(secret)
    }

    /// Rotates what is issued here; any other version is sent.
    fn add_version(&self, name: &str, sent: NewVersion) -> anyhow::Result<Value> {
        let NewVersion { certificate, private_key, intermediate } = sent;
        let key = private_key.map(Zeroizing::new);
        let key = key.as_ref().map(|key| key.as_str());
        let version = match certificate {
            None if key.is_none() && self.inventory.issues(name) => self.inventory.issue(name)?,
            None => anyhow::bail!("certificate is missing"),
            Some(leaf) => self.inventory.push(name, &join_chain(&leaf, intermediate.as_deref()), key)?,
        };
        Ok(metadata(&version))
    }

    fn versions(&self, name: &str) -> anyhow::Result<Value> {
        let mut versions = Vec::new();
        for number in self.inventory.numbers(name)? {
            versions.push(metadata(&self.inventory.version(name, number)?));
        }
        Ok(json!({"total_count": versions.len(), "versions": versions}))
    }
}

fn is_uuid(id: &str) -> bool {
    let parts = id.split('-').map(str::len);
    parts.eq([8, 4, 4, 4, 12]) && id.chars().all(|c| c == '-' || c.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests;
