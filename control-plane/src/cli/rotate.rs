//! `hotcert rotate`: replaces a certificate now, and follows it until every pod serves the new one.

use std::time::Duration;

use clap::Args;

use crate::api::condition::{Condition, ConditionType};
use crate::api::object_name::ObjectName;
use crate::api::request;
use crate::api::resource::CertificateStatus;
use crate::cli::arguments::{WaitArgs, object_name};
use crate::cli::backend::Backend;
use crate::cli::follow::{Progress, follow, print_published, request_id, serving_progress};
use crate::cli::session::{CommandError, Session};
use crate::store::ObjectRef;

#[derive(Debug, Args)]
pub struct RotateArgs {
    /// NAMESPACE/NAME of the certificate, such as shop/mtls-prod-payments
    #[arg(value_parser = object_name)]
    name: ObjectName,
    #[command(flatten)]
    wait: WaitArgs,
}

pub(super) async fn run<B: Backend>(session: &mut Session<B>, args: &RotateArgs) -> Result<(), CommandError> {
    let status = rotate_and_wait(session, &args.name, args.wait.timeout).await?;
    print_published(session, &args.name, &status)
}

/// Returns when every pod serves the new leaf, or was given enough time to.
pub(super) async fn rotate_and_wait<B: Backend>(
    session: &mut Session<B>,
    name: &ObjectName,
    timeout: Duration,
) -> Result<CertificateStatus, CommandError> {
    session.backend.certificate(name).await?;
    let id = request_id()?;
    session.backend.request(&ObjectRef::Certificate(name.clone()), request::ROTATE, &id, "").await?;
    follow(session, name, timeout, |status| {
        let handled =
            status.handled_requests.as_ref().and_then(|handled| handled.rotate.as_ref()) == Some(&id);
        let degraded = Condition::find(&status.conditions, ConditionType::Degraded);
        match degraded {
            _ if handled => serving_progress(status),
            Some(degraded) => Progress::Waiting(format!("{}: {}", degraded.reason, degraded.message)),
            None => Progress::Waiting("for the new version to be published".into()),
        }
    })
    .await
}
