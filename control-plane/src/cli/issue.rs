//! `hotcert issue`: creates a certificate, and its authority on request, and follows it until it is served.

use clap::Args;

use crate::api::condition::{Condition, ConditionStatus, ConditionType, Reason};
use crate::api::object_name::ObjectName;
use crate::api::resource::{
    CertificateAuthority, CertificateAuthoritySpec, CertificateStatus, ManagerRef, Naming,
    ServiceCertificate, ServiceCertificateSpec,
};
use crate::api::settings::{AuthoritySettings, CertificateSettings, FetchedSettings};
use crate::cli::arguments::{WaitArgs, lifetime, manager_ref, new_certificate_name, secret_name};
use crate::cli::backend::{Backend, BackendError};
use crate::cli::follow::{Progress, follow, print_progress, print_published, serving_progress};
use crate::cli::session::{CommandError, Session};

#[derive(Debug, Args)]
pub struct IssueArgs {
    /// NAMESPACE/TYPE-CLUSTER-MICROSERVICE of the certificate, such as shop/mtls-prod-payments
    #[arg(value_parser = new_certificate_name)]
    name: ObjectName,
    /// Authority that signs it, such as root-prod-shop
    #[arg(long, value_name = "NAME", required_unless_present = "manager")]
    authority: Option<String>,
    /// Create the authority, for this namespace, if it does not exist
    #[arg(long, requires = "authority")]
    create_authority: bool,
    /// External manager and the id of the certificate there, such as ibm/payments. Every version is pushed to it;
    /// without --authority, every version is fetched from it instead
    #[arg(long, value_name = "MANAGER/ID", value_parser = manager_ref)]
    manager: Option<ManagerRef>,
    /// Secret to publish to, in the same namespace [default: MICROSERVICE-tls]
    #[arg(long, value_name = "NAME", value_parser = secret_name)]
    secret_name: Option<String>,
    /// DNS name of the certificate; repeatable [default: MICROSERVICE.NAMESPACE.svc, also with .cluster.local]
    #[arg(long = "dns-name", value_name = "NAME")]
    dns_names: Vec<String>,
    /// Lifetime of each version, such as 36h or 30d: at least 1s, at most the authority's leafLifetimeMax, which is 90d
    /// unless it is set [default: 30d, or the authority's maximum if that is shorter]
    #[arg(long, value_name = "DURATION", value_parser = lifetime)]
    lifetime: Option<String>,
    #[command(flatten)]
    wait: WaitArgs,
}

pub(super) async fn run<B: Backend>(session: &mut Session<B>, args: &IssueArgs) -> Result<(), CommandError> {
    let spec = ServiceCertificateSpec {
        authority: args.authority.clone().unwrap_or_default(),
        manager: args.manager.clone(),
        secret_name: args.secret_name.clone(),
        dns_names: (!args.dns_names.is_empty()).then(|| args.dns_names.clone()),
        lifetime: args.lifetime.clone(),
        ..Default::default()
    };
    validate(session, args, &spec).await?;
    let secret = CertificateSettings::secret_name(&args.name.name, &spec);
    if let Some(owner) = session.backend.foreign_owner(&args.name, &secret).await? {
        return Err(CommandError::Failed(format!(
            "the Secret {}/{secret} exists and {owner}: choose another name with --secret-name",
            args.name.namespace
        )));
    }
    if let (Some(authority), true) = (&args.authority, args.create_authority) {
        let spec = authority_spec(args);
        match session.backend.create_authority(&CertificateAuthority::new(authority, spec)).await {
            Ok(()) => print_progress(session, &format!("created the authority {authority}")),
            Err(BackendError::Exists(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let mut object = ServiceCertificate::new(&args.name.name, spec);
    object.metadata.namespace = Some(args.name.namespace.clone());
    session.backend.create_certificate(&object).await?;
    print_progress(session, &format!("created the certificate {}", args.name));
    let how_to_change = session.backend.how_to_change(&args.name);
    let progress = |status: &CertificateStatus| issue_progress(status, &how_to_change);
    let status = follow(session, &args.name, args.wait.timeout, progress).await?;
    print_published(session, &args.name, &status)
}

fn issue_progress(status: &CertificateStatus, how_to_change: &str) -> Progress {
    match Condition::find(&status.conditions, ConditionType::Ready) {
        Some(ready) if ready.status == ConditionStatus::True => serving_progress(status),
        Some(ready) if matches!(ready.reason, Reason::InvalidSpec | Reason::ForeignSecret) => {
            // The object stays, and the cause may go away by itself or by a change of it.
            let message = &ready.message;
            Progress::Refused(format!(
                "{message}. The certificate was created, and nothing is published for it: {how_to_change}"
            ))
        }
        Some(ready) => Progress::Waiting(format!("{}: {}", ready.reason, ready.message)),
        None => Progress::Waiting("for the control plane to read the new certificate".into()),
    }
}

fn authority_spec(args: &IssueArgs) -> CertificateAuthoritySpec {
    CertificateAuthoritySpec { namespaces: vec![args.name.namespace.clone()], ..Default::default() }
}

/// Rejects before it is created what the controller would reject afterwards.
async fn validate<B: Backend>(
    session: &Session<B>,
    args: &IssueArgs,
    spec: &ServiceCertificateSpec,
) -> Result<(), CommandError> {
    let invalid = |errors: Vec<String>| CommandError::Failed(errors.join("; "));
    let ObjectName { namespace, name } = &args.name;
    if name.parse::<Naming>().is_err() {
        return Err(CommandError::Failed(format!(
            "{} is not a name of a certificate: write TYPE-CLUSTER-MICROSERVICE, such as \
             {namespace}/mtls-local-payments; TYPE is mtls, server or client",
            args.name
        )));
    }
    let Some(authority_name) = &args.authority else {
        FetchedSettings::validate(name, spec).map_err(invalid)?;
        return Ok(());
    };
    let invalid_authority = |errors: Vec<String>| {
        CommandError::Failed(format!("authority {authority_name}: {}", errors.join("; ")))
    };
    let authority = match session.backend.authority(authority_name).await {
        Ok(authority) => authority.spec,
        Err(BackendError::Missing(_)) if args.create_authority => authority_spec(args),
        Err(BackendError::Missing(_)) => {
            AuthoritySettings::validate(authority_name, &authority_spec(args)).map_err(invalid_authority)?;
            let message =
                format!("there is no authority {authority_name}: create it with --create-authority");
            return Err(CommandError::Failed(message));
        }
        // Without permission to read authorities it is left to the controller to validate.
        Err(_) => return Ok(()),
    };
    let authority = AuthoritySettings::validate(authority_name, &authority).map_err(invalid_authority)?;
    if !authority.may_be_used_in(namespace) {
        let how = session.backend.how_to_change_authority(authority_name);
        let unchanged = if args.create_authority {
            "; --create-authority does not change an existing authority"
        } else {
            ""
        };
        return Err(CommandError::Failed(format!(
            "{authority_name} does not allow the namespace {namespace}: add it to spec.namespaces: {how}{unchanged}"
        )));
    }
    CertificateSettings::validate(namespace, name, spec, &authority).map_err(invalid)?;
    Ok(())
}
