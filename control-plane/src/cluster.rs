//! How to reach a cluster: in a pod by its service account, elsewhere by a kubeconfig.

use std::path::{Path, PathBuf};

use kube::config::{InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    #[error("{file}: {cause}; give a kubeconfig with --kubeconfig", file = .file.display())]
    Kubeconfig { file: PathBuf, cause: KubeconfigError },
    #[error("neither in a pod ({0}) nor with a kubeconfig: give one with --kubeconfig")]
    NoCluster(#[from] InClusterError),
    #[error("no client for the Kubernetes API: {0}")]
    Client(#[from] kube::Error),
}

/// `None` in a pod, which has a service account.
pub fn kubeconfig_outside_a_cluster() -> Option<PathBuf> {
    if Config::incluster().is_ok() {
        return None;
    }
    let named = std::env::var_os("KUBECONFIG").filter(|paths| !paths.is_empty());
    let file = match &named {
        Some(paths) => std::env::split_paths(paths).find(|path| path.exists())?,
        None => std::env::home_dir()?.join(".kube/config"),
    };
    file.exists().then_some(file)
}

/// `None`: as a pod.
pub async fn client(kubeconfig: Option<&Path>) -> Result<Client, ClusterError> {
    let config = match kubeconfig {
        None => Config::incluster()?,
        Some(file) => {
            let failed = |cause| ClusterError::Kubeconfig { file: file.to_owned(), cause };
            let content = Kubeconfig::read_from(file).map_err(failed)?;
            Config::from_custom_kubeconfig(content, &KubeConfigOptions::default()).await.map_err(failed)?
        }
    };
    Ok(Client::try_from(config)?)
}
