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
    #[error("{files}: {cause}; {OTHERWISE}")]
    Kubeconfig { files: String, cause: String },
    #[error("the kubeconfig {} does not exist; {OTHERWISE}", .0.display())]
    NoKubeconfig(PathBuf),
    #[error("{files}: there is no context {context}: {}", choices(.known))]
    NoContext { files: String, context: String, known: Vec<String> },
    #[error("{files}: there is no current context: {}", choices(.known))]
    NoCurrentContext { files: String, known: Vec<String> },
    #[error("--context {0}: there is no kubeconfig that has contexts; {OTHERWISE}")]
    ContextWithoutKubeconfig(String),
    #[error("no cluster found: there is no kubeconfig, and this is not a pod; {OTHERWISE}")]
    NoCluster(#[source] InClusterError),
    #[error("no client for the Kubernetes API: {0}")]
    Client(#[from] kube::Error),
}

fn choices(known: &[String]) -> String {
    match known {
        [] => "no file has one; name another file with --kubeconfig".into(),
        known => format!("choose one with --context, of {}", known.join(", ")),
    }
}

/// For a program of the cluster: `None` in a pod, which has a service account.
pub fn kubeconfig_outside_a_cluster() -> Option<PathBuf> {
    if Config::incluster().is_ok() { None } else { kubeconfigs_of_a_person().into_iter().next() }
}

/// The files that exist of those that kubectl would read; the first has precedence.
fn kubeconfigs_of_a_person() -> Vec<PathBuf> {
    let named = std::env::var_os("KUBECONFIG").filter(|paths| !paths.is_empty());
    let mut files: Vec<_> = match &named {
        Some(paths) => std::env::split_paths(paths).collect(),
        None => std::env::home_dir().map(|home| home.join(".kube/config")).into_iter().collect(),
    };
    files.retain(|file| file.exists());
    files
}

/// For a program of the cluster. `None`: as a pod.
pub async fn client(kubeconfig: Option<&Path>) -> Result<Client, ClusterError> {
    let config = match kubeconfig {
        None => Config::incluster().map_err(ClusterError::NoCluster)?,
        Some(file) => configured(&[file.to_owned()], None).await?,
    };
    finished(config)
}

/// For a command, which may run in a pod of another cluster: as kubectl does.
pub async fn client_of_a_person(
    kubeconfig: Option<&Path>,
    context: Option<&str>,
) -> Result<Client, ClusterError> {
    let files = kubeconfig.map_or_else(kubeconfigs_of_a_person, |file| vec![file.to_owned()]);
    let config = match (files.as_slice(), context) {
        ([], Some(context)) => return Err(ClusterError::ContextWithoutKubeconfig(context.to_owned())),
        ([], None) => Config::incluster().map_err(ClusterError::NoCluster)?,
        (files, context) => configured(files, context).await?,
    };
    finished(config)
}

fn finished(mut config: Config) -> Result<Client, ClusterError> {
    config.read_timeout = config.read_timeout.or(Some(SILENCE));
    // The time that a pooled connection was idle is not an answer's.
    config.reset_reader_on_write = true;
    Ok(Client::try_from(config)?)
}

async fn configured(files: &[PathBuf], context: Option<&str>) -> Result<Config, ClusterError> {
    let shown = files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ");
    let merged = merged(files)?;
    let known: Vec<_> = merged.contexts.iter().map(|context| context.name.clone()).collect();
    match context.or(merged.current_context.as_deref()) {
        None => return Err(ClusterError::NoCurrentContext { files: shown, known }),
        Some(name) if !known.iter().any(|known| known == name) => {
            return Err(ClusterError::NoContext { files: shown, context: name.to_owned(), known });
        }
        Some(_) => {}
    }
    let options = KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
    let config = Config::from_custom_kubeconfig(merged, &options).await;
    config.map_err(|error| ClusterError::Kubeconfig { files: shown, cause: error.to_string() })
}

/// One of all the files: what an earlier one names is not replaced by a later one.
fn merged(files: &[PathBuf]) -> Result<Kubeconfig, ClusterError> {
    let mut merged = Kubeconfig::default();
    for file in files {
        let failed = |error| {
            // Its own message would name the file again.
            let cause = match error {
                KubeconfigError::ReadConfig(error, _) if error.kind() == io::ErrorKind::NotFound => {
                    return ClusterError::NoKubeconfig(file.to_owned());
                }
                KubeconfigError::ReadConfig(error, _) => error.to_string(),
                error => error.to_string(),
            };
            ClusterError::Kubeconfig { files: file.display().to_string(), cause }
        };
        let mut content = Kubeconfig::read_from(file).map_err(failed)?;
        // `current-context: ""` names none.
        content.current_context = content.current_context.filter(|context| !context.is_empty());
        merged = merged.merge(content).map_err(failed)?;
    }
    Ok(merged)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn kubeconfig(dir: &Path, name: &str, port: u16, current: &str) -> PathBuf {
        let file = dir.join(name);
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: \"{current}\"\n\
             clusters: [{{name: {name}, cluster: {{server: \"http://127.0.0.1:{port}\"}}}}, \
             {{name: shared, cluster: {{server: \"http://127.0.0.1:{port}\"}}}}]\n\
             contexts: [{{name: {name}, context: {{cluster: {name}}}}}, {{name: shared, context: {{cluster: shared}}}}]\n"
        );
        std::fs::write(&file, text).unwrap();
        file
    }

    #[tokio::test]
    async fn files_are_merged_and_the_first_that_names_something_wins() {
        let dir = tempfile::tempdir().unwrap();
        let files = [kubeconfig(dir.path(), "one", 1001, ""), kubeconfig(dir.path(), "two", 1002, "two")];
        let port = async |context| configured(&files, context).await.unwrap().cluster_url.port_u16();
        assert_eq!(port(None).await, Some(1002), "the first has no current context");
        assert_eq!(port(Some("one")).await, Some(1001));
        assert_eq!(port(Some("shared")).await, Some(1001));
    }

    #[tokio::test]
    async fn a_wrong_context_is_answered_with_those_that_there_are() {
        let dir = tempfile::tempdir().unwrap();
        let files = [kubeconfig(dir.path(), "one", 1001, ""), kubeconfig(dir.path(), "two", 1002, "")];
        let refused = async |context| configured(&files, context).await.err().unwrap().to_string();
        for (context, said) in
            [(Some("tow"), "there is no context tow"), (None, "there is no current context")]
        {
            let refused = refused(context).await;
            assert!(refused.contains(said), "{refused}");
            assert!(refused.ends_with("choose one with --context, of one, shared, two"), "{refused}");
            assert!(refused.contains(&files[1].display().to_string()), "{refused}");
        }
    }
}
