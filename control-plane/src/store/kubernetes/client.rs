//! How to reach a cluster: in a pod by its service account, elsewhere by a kubeconfig.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::config::{InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

/// An answer that stops in the middle for so long has ended without a word. API servers send a bookmark about once a
/// minute in a watch in which nothing changes.
const SILENCE: Duration = Duration::from_secs(90);

const OTHERWISE: &str = "give --kubeconfig FILE, or work on a directory of this machine with --dir DIR";

#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    #[error("{file}: {cause}; {OTHERWISE}", file = .file.display())]
    Kubeconfig { file: PathBuf, cause: String },
    #[error("the kubeconfig {} does not exist; {OTHERWISE}", .0.display())]
    NoKubeconfig(PathBuf),
    #[error("no cluster found: there is no kubeconfig, and this is not a pod; {OTHERWISE}")]
    NoCluster(#[source] InClusterError),
    #[error("no client for the Kubernetes API: {0}")]
    Client(#[from] kube::Error),
}

/// For a program of the cluster: `None` in a pod, which has a service account.
pub fn kubeconfig_outside_a_cluster() -> Option<PathBuf> {
    if Config::incluster().is_ok() { None } else { kubeconfig_of_a_person() }
}

/// For a command, which may run in a pod of another cluster: as kubectl does.
pub fn kubeconfig_of_a_person() -> Option<PathBuf> {
    let named = std::env::var_os("KUBECONFIG").filter(|paths| !paths.is_empty());
    let file = match &named {
        Some(paths) => std::env::split_paths(paths).find(|path| path.exists())?,
        None => std::env::home_dir()?.join(".kube/config"),
    };
    file.exists().then_some(file)
}

/// `None`: as a pod.
pub async fn client(kubeconfig: Option<&Path>) -> Result<Client, ClusterError> {
    let mut config = match kubeconfig {
        None => Config::incluster().map_err(ClusterError::NoCluster)?,
        Some(file) => {
            let failed = |error| {
                // Its own message would name the file again.
                let cause = match error {
                    KubeconfigError::ReadConfig(error, _) if error.kind() == io::ErrorKind::NotFound => {
                        return ClusterError::NoKubeconfig(file.to_owned());
                    }
                    KubeconfigError::ReadConfig(error, _) => error.to_string(),
                    error => error.to_string(),
                };
                ClusterError::Kubeconfig { file: file.to_owned(), cause }
            };
            let content = Kubeconfig::read_from(file).map_err(failed)?;
            Config::from_custom_kubeconfig(content, &KubeConfigOptions::default()).await.map_err(failed)?
        }
    };
    config.read_timeout = config.read_timeout.or(Some(SILENCE));
    // The time that a pooled connection was idle is not an answer's.
    config.reset_reader_on_write = true;
    Ok(Client::try_from(config)?)
}
