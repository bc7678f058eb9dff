//! What every command needs: where the objects are, how it fails, and the values that its arguments are made of.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::cli::backend::BackendError;
use crate::planner::observed::ObjectName;

/// What may be waited for, or looked ahead.
const LONGEST: Duration = Duration::from_secs(10 * 366 * 24 * 60 * 60);

/// Where the objects are.
#[derive(Clone, Debug, Args)]
pub struct BackendArgs {
    /// Directory store on this machine, instead of a cluster
    #[arg(long, env = "HOTCERT_DIR", value_name = "DIR", conflicts_with = "kubeconfig")]
    pub(super) dir: Option<PathBuf>,
    /// How to reach the cluster [default: $KUBECONFIG or ~/.kube/config, or as a pod in it]
    #[arg(long, env = "HOTCERT_KUBECONFIG", value_name = "FILE")]
    pub(super) kubeconfig: Option<PathBuf>,
    /// Print JSON instead of text
    #[arg(long)]
    pub(super) json: bool,
}

/// A command's arguments, and where it is to be done.
#[derive(Debug, Args)]
pub struct At<A: Args> {
    #[command(flatten)]
    pub(super) args: A,
    #[command(flatten)]
    pub(super) place: BackendArgs,
}

#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    #[error(transparent)]
    Backend(#[from] BackendError),
    #[error("{0}")]
    Wrong(String),
    /// Said already, in the output itself.
    #[error("")]
    Trouble,
}

/// What a command needs besides its own arguments.
pub(super) struct Session<D> {
    pub(super) backend: D,
    pub(super) json: bool,
}

/// NAMESPACE/NAME as an argument.
pub(super) fn object_name(text: &str) -> Result<ObjectName, String> {
    text.parse().map_err(|error: crate::planner::observed::ObjectNameError| error.to_string())
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if duration <= LONGEST => Ok(duration),
        Ok(_) => Err("that is more than ten years".into()),
        Err(error) => Err(format!("{error}; write it like 30s or 5m")),
    }
}

/// Tells a request from every other.
pub(super) fn request_id() -> Result<String, CommandError> {
    let mut random = [0; 6];
    aws_lc_rs::rand::fill(&mut random)
        .map_err(|_| CommandError::Wrong("the system's random number generator failed".into()))?;
    Ok(hotcert_agent::tls::hex::hex(&random))
}
