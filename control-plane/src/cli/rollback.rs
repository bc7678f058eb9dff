//! `hotcert rollback`: publishes an earlier version of a certificate again.

use clap::Args;

use crate::api::condition::{Condition, ConditionType};
use crate::api::object_name::ObjectName;
use crate::api::request;
use crate::cli::arguments::{WaitArgs, object_name, version_number};
use crate::cli::backend::Backend;
use crate::cli::follow::{Progress, follow, print_published, request_id, serving_progress};
use crate::cli::session::{CommandError, Session};
use crate::store::ObjectRef;

#[derive(Debug, Args)]
pub struct RollbackArgs {
    /// NAMESPACE/NAME of the certificate, such as shop/mtls-prod-payments
    #[arg(value_parser = object_name)]
    name: ObjectName,
    /// Version to publish again, a number of hotcert history [default: the previous one]
    #[arg(long, value_name = "N", value_parser = version_number)]
    to: Option<u64>,
    #[command(flatten)]
    wait: WaitArgs,
}

pub(super) async fn run<B: Backend>(
    session: &mut Session<B>,
    args: &RollbackArgs,
) -> Result<(), CommandError> {
    session.backend.certificate(&args.name).await?;
    let id = request_id()?;
    let arguments = args.to.map(|to| format!("to={to}")).unwrap_or_default();
    session
        .backend
        .request(&ObjectRef::Certificate(args.name.clone()), request::ROLLBACK, &id, &arguments)
        .await?;
    let status = follow(session, &args.name, args.wait.timeout, |status| {
        let handled =
            status.handled_requests.as_ref().and_then(|handled| handled.rollback.as_ref()) == Some(&id);
        let refused = Condition::find(&status.conditions, ConditionType::RollbackRefused);
        match (handled, refused) {
            (false, _) => Progress::Waiting("for the control plane to handle the request".into()),
            (true, Some(refused)) => Progress::Refused(format!("{}: {}", args.name, refused.message)),
            (true, None) => serving_progress(status),
        }
    })
    .await?;
    print_published(session, &args.name, &status)
}
