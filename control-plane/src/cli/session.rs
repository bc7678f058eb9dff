//! What every command has: the global arguments, the backend and its errors.

use std::path::PathBuf;

use clap::Args;

use crate::cli::backend::BackendError;

/// The arguments that every command has: where the objects are, and how to print them.
#[derive(Clone, Debug, Args)]
pub struct GlobalArgs {
    /// Work on this directory of the local machine instead of a cluster
    #[arg(long, env = "HOTCERT_DIR", value_name = "DIR", conflicts_with = "kubeconfig")]
    pub(super) dir: Option<PathBuf>,
    /// Kubeconfig of the cluster [default: the files of $KUBECONFIG merged, or ~/.kube/config, else the service account
    /// in a pod]
    #[arg(long, env = "HOTCERT_KUBECONFIG", value_name = "FILE")]
    pub(super) kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig [default: its current context]
    #[arg(long, value_name = "NAME", conflicts_with = "dir")]
    pub(super) context: Option<String>,
    /// Print JSON instead of text
    #[arg(long)]
    pub(super) json: bool,
}

/// The arguments of one command and the global ones.
#[derive(Debug, Args)]
pub struct WithGlobals<A: Args> {
    #[command(flatten)]
    pub(super) args: A,
    #[command(flatten)]
    pub(super) global: GlobalArgs,
}

#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    #[error(transparent)]
    Backend(#[from] BackendError),
    #[error("{0}")]
    Failed(String),
    /// By the control plane: why. It is not asked again.
    #[error("refused: {0}")]
    Refused(String),
    /// The output has reported it; only the exit code is left to set.
    #[error("reported in the output")]
    Reported,
}

/// What a command needs besides its own arguments.
pub(super) struct Session<B> {
    pub(super) backend: B,
    pub(super) json: bool,
}
