//! Why the controller ends, or does not start.

use super::listener::BindError;
use crate::store::StoreError;
use crate::store::kubernetes::client::ClusterError;

#[derive(Debug, thiserror::Error)]
pub enum ControllerError {
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\nerror: "))]
    Bind(Vec<BindError>),
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("a task of the controller ended, so the controller exits: {0}")]
    TaskEnded(String),
    #[error("cannot start: {0}")]
    Io(#[from] std::io::Error),
    #[error("cannot start: {0}")]
    Reload(#[from] hotcert_tls::StartError),
}

impl From<BindError> for ControllerError {
    fn from(error: BindError) -> Self {
        Self::Bind(vec![error])
    }
}
