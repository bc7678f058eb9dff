//! `hotcert controller`: the program in the cluster. One replica at a time leads and runs the reconcile loop;
//! every replica answers the admission webhook, which adds the agent to pods.
//!
//! | module | what it does |
//! |---|---|
//! | `args`, `ineffective` | arguments, validated into settings, and which of them have no effect |
//! | `cluster` | starts every task in a cluster, and drains on SIGTERM |
//! | `directory` | the same for a directory on one machine: the reconcile loop alone |
//! | `leader` | leader election around the reconcile loop |
//! | `webhook`, `webhook_path`, `admission_review` | the admission webhook |
//! | `webhook_certificate` | the webhook's own certificate, in its Secret and the `caBundle` |
//! | `self_check` | what the webhook's listener really serves |
//! | `native_sidecar` | which kind of sidecar the cluster's nodes support |
//! | `notification_services`, `receiver_http` | outgoing notifications, the external sync and the receiver |
//! | `https_server`, `request_body`, `http`, `listener` | HTTPS for the webhook and the receiver, and plain HTTP |
//! | `status`, `health`, `webhook_counters`, `refusals`, `metrics`, `admin`, `admin_connections` | what the controller reports of itself |
//! | `signals`, `descriptors` | what the process shares with its surroundings |
//!
//! The webhook's certificate is written to its Secret and comes back through the same reload as an agent's:
//! validated, tested by a handshake, swapped atomically, verified by a self-check.

mod admin;
mod admin_connections;
mod admission_review;
mod args;
mod cluster;
mod descriptors;
mod directory;
mod error;
mod health;
mod http;
mod https_server;
mod ineffective;
mod leader;
mod listener;
mod metrics;
mod native_sidecar;
mod notification_services;
mod receiver_http;
mod refusals;
mod request_body;
mod self_check;
mod signals;
mod status;
mod webhook;
mod webhook_certificate;
mod webhook_counters;
mod webhook_path;

use std::process::ExitCode;

pub use args::ControllerArgs;
use args::Settings;
use error::ControllerError;

const WORKERS: usize = 2;

pub fn main(args: &ControllerArgs) -> ExitCode {
    let _log = match hotcert_log::start(args.log_format) {
        Ok(log) => log,
        Err(error) => {
            hotcert_log::last_words(&format!("error: cannot start the log: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let settings = match Settings::from_args(args) {
        Ok(settings) => settings,
        Err(errors) => return refuse(&errors),
    };
    for warning in ineffective::find(args) {
        tracing::warn!("{warning}");
    }
    descriptors::raise_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build();
    let result = runtime.map_err(ControllerError::Io).and_then(|runtime| {
        let result = runtime.block_on(async {
            match settings.dir.clone() {
                Some(dir) => directory::run(settings, &dir).await,
                None => cluster::run(settings).await,
            }
        });
        runtime.shutdown_background();
        result
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            hotcert_log::last_words(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Prints everything that is wrong with the arguments.
fn refuse(errors: &[String]) -> ExitCode {
    let errors: String = errors.iter().map(|error| format!("error: {error}\n")).collect();
    hotcert_log::last_words(&format!("{errors}\nFor more information, try '--help'."));
    ExitCode::from(2)
}
