//! The addresses of the APIs: those of IBM Cloud, or others from a file, such as its private endpoints.

use std::path::Path;

use serde::Deserialize;
use zeroize::Zeroizing;

use super::error::IbmError;
use super::request::Service;
use crate::external::config::ConfigFiles;
use crate::external::http_client::{AddressPolicy, Endpoint, Network};

/// The file. `{region}` and `{guid}`, of the instance, are replaced.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct File {
    iam: String,
    resource_controller: String,
    global_catalog: String,
    global_tagging: String,
    secrets_manager: String,
    event_notifications: String,
    /// A file with the roots of their certificates.
    ca: Option<String>,
    allow_networks: Vec<String>,
}

impl Default for File {
    fn default() -> Self {
        Self {
            iam: "https://iam.cloud.ibm.com".into(),
            resource_controller: "https://resource-controller.cloud.ibm.com".into(),
            global_catalog: "https://globalcatalog.cloud.ibm.com/api/v1".into(),
            global_tagging: "https://tags.global-search-tagging.cloud.ibm.com".into(),
            secrets_manager: "https://{guid}.{region}.secrets-manager.appdomain.cloud".into(),
            event_notifications: "https://{region}.event-notifications.cloud.ibm.com/event-notifications"
                .into(),
            ca: None,
            allow_networks: Vec::new(),
        }
    }
}

pub struct Endpoints {
    file: File,
    roots: Option<Zeroizing<Vec<u8>>>,
    policy: AddressPolicy,
    region: String,
}

impl Endpoints {
    /// `file`: with other addresses than IBM Cloud's.
    pub fn read(file: Option<&Path>, region: &str) -> Result<Self, String> {
        let Some(path) = file else {
            let (file, policy) = (File::default(), AddressPolicy::default());
            return Ok(Self { file, roots: None, policy, region: region.to_owned() });
        };
        let at = |error: String| format!("{}: {error}", path.display());
        let directory = path.parent().unwrap_or(Path::new("")).to_owned();
        let mut files = ConfigFiles::new(directory);
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let text = files.read(name).map_err(at)?;
        let text = str::from_utf8(&text).map_err(|error| at(error.to_string()))?;
        let file: File = serde_saphyr::from_str(text).map_err(|error| at(error.to_string()))?;
        let roots = match &file.ca {
            Some(ca) => Some(files.read(ca).map_err(|error| at(format!("ca: {ca}: {error}")))?),
            None => None,
        };
        let networks = file.allow_networks.iter().map(|network| network.parse::<Network>());
        let allowed = networks.collect::<Result<_, _>>().map_err(|error| at(error.to_string()))?;
        Ok(Self { file, roots, policy: AddressPolicy { allowed }, region: region.to_owned() })
    }

    /// The address of a service; `guid`: of its instance, if it has instances.
    pub fn base(&self, service: Service, guid: &str) -> String {
        let url = match service {
            Service::Iam => &self.file.iam,
            Service::ResourceController => &self.file.resource_controller,
            Service::GlobalCatalog => &self.file.global_catalog,
            Service::GlobalTagging => &self.file.global_tagging,
            Service::SecretsManager => &self.file.secrets_manager,
            Service::EventNotifications => &self.file.event_notifications,
        };
        url.replace("{region}", &self.region).replace("{guid}", guid).trim_end_matches('/').to_owned()
    }

    pub(super) fn endpoint(&self, service: Service, url: &str) -> Result<Endpoint, IbmError> {
        let roots = self.roots.as_ref().map(|roots| roots.as_slice());
        Endpoint::new(url, self.policy.clone(), roots).map_err(|cause| IbmError::Endpoint {
            service,
            url: url.to_owned(),
            cause,
        })
    }

    /// What a manager's section of the settings has beside the addresses: the content of `ca`, and networks.
    pub fn manager_access(&self) -> (Option<&[u8]>, &[String]) {
        (self.roots.as_ref().map(|roots| roots.as_slice()), &self.file.allow_networks)
    }

    /// Where IAM issues tokens, unless it is where everybody gets them.
    pub fn own_iam_url(&self) -> Option<String> {
        let own = self.base(Service::Iam, "");
        (own != File::default().iam).then(|| format!("{own}/identity/token"))
    }
}
