//! `hotcert issue`: creates a certificate, and its authority on request, and follows it until it is served.

use std::net::IpAddr;

use clap::Args;

use crate::api::condition::{Condition, ConditionStatus, ConditionType, Reason};
use crate::api::leaf_request::Usage;
use crate::api::object_name::ObjectName;
use crate::api::resource::{
    AllowedNames, CertificateAuthority, CertificateAuthoritySpec, CertificateStatus, ManagerRef,
    NameConstraints, Naming, ServiceCertificate, ServiceCertificateSpec,
};
use crate::api::settings::{
    AuthoritySettings, CertificateSettings, ClusterDomain, FetchedSettings, TRUST_DOMAIN,
};
use crate::cli::arguments::{
    WaitArgs, lifetime, manager_ref, new_certificate_name, secret_name, trust_domain,
};
use crate::cli::backend::{Backend, BackendError};
use crate::cli::follow::{Progress, follow, print_progress, print_published, serving_progress};
use crate::cli::session::{CommandError, Session};

#[derive(Debug, Args)]
pub struct IssueArgs {
    /// NAMESPACE/TYPE-CLUSTER-MICROSERVICE of the certificate, such as shop/mtls-prod-payments; with --service
    /// NAMESPACE/NAME
    #[arg(value_parser = new_certificate_name)]
    name: ObjectName,
    /// Service that it is for; the certificate may then have any name [default: MICROSERVICE in its name]
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// Cluster that it is for, if that has a hyphen or is not in its name; with --create-authority that of the authority,
    /// too [default: CLUSTER in its name]
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// What it is for [default: TYPE in its name; with --service, mtls]
    #[arg(long, value_name = "TYPE")]
    usage: Option<Usage>,
    /// Authority that signs it, such as root-prod-shop
    #[arg(long, value_name = "NAME", required_unless_present = "manager")]
    authority: Option<String>,
    /// Create the authority, for this namespace, if it does not exist
    #[arg(long, requires = "authority")]
    create_authority: bool,
    /// With --create-authority: it signs any DNS name and SPIFFE ID, also outside its namespaces
    #[arg(long, requires = "create_authority")]
    any_name: bool,
    /// With --create-authority: trust domain of its SPIFFE IDs, spiffe://DOMAIN/ns/NAMESPACE/sa/NAME
    /// [default: cluster.local]
    #[arg(long, value_name = "DOMAIN", value_parser = trust_domain, requires = "create_authority")]
    trust_domain: Option<String>,
    /// External manager and the id of the certificate there, such as ibm/payments. Every version is pushed to it;
    /// without --authority, every version is fetched from it instead
    #[arg(long, value_name = "MANAGER/ID", value_parser = manager_ref)]
    manager: Option<ManagerRef>,
    /// Secret to publish to, in the same namespace [default: SERVICE-tls]
    #[arg(long, value_name = "NAME", value_parser = secret_name)]
    secret_name: Option<String>,
    /// DNS name of the certificate; repeatable [default: SERVICE.NAMESPACE.svc, and the same with the
    /// cluster's domain]
    #[arg(long = "dns-name", value_name = "NAME")]
    dns_names: Vec<String>,
    /// IP address of the certificate, which the authority has to allow; repeatable
    #[arg(long = "ip-address", value_name = "ADDRESS")]
    ip_addresses: Vec<IpAddr>,
    /// With --create-authority: pattern of DNS names that it signs besides those of the own namespace, such as
    /// '*.{namespace}.example.org'; repeatable
    #[arg(long = "allow-dns-name", value_name = "PATTERN", requires = "create_authority")]
    allowed_dns_names: Vec<String>,
    /// With --create-authority: network of IP addresses that it signs, such as 10.0.0.0/8; repeatable
    #[arg(long = "allow-ip-address", value_name = "NETWORK", requires = "create_authority")]
    allowed_ip_addresses: Vec<String>,
    /// With --create-authority: domain that its root permits DNS names in (name constraints), such as shop.svc; repeatable
    #[arg(long = "permit-dns-domain", value_name = "DOMAIN", requires = "create_authority")]
    permitted_dns_domains: Vec<String>,
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
        cluster: args.cluster.clone(),
        service: args.service.clone(),
        usage: args.usage,
        manager: args.manager.clone(),
        secret_name: args.secret_name.clone(),
        dns_names: (!args.dns_names.is_empty()).then(|| args.dns_names.clone()),
        ip_addresses: (!args.ip_addresses.is_empty())
            .then(|| args.ip_addresses.iter().map(ToString::to_string).collect()),
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
    let mut object = ServiceCertificate::new(&args.name.name, spec);
    object.metadata.namespace = Some(args.name.namespace.clone());
    session.backend.try_certificate(&object).await?;
    let mut created = Created::default();
    match create_and_follow(session, args, &object, &mut created).await {
        Ok(status) => print_published(session, &args.name, &status),
        Err(Issuing::Refused(why)) => Err(created.take_back(session, &args.name, &why).await),
        Err(Issuing::Failed(error)) => Err(error),
    }
}

/// Why nothing was issued.
enum Issuing {
    /// It will not be issued.
    Refused(String),
    /// It may be issued yet.
    Failed(CommandError),
}

/// What this command has created.
#[derive(Default)]
struct Created {
    authority: Option<CertificateAuthority>,
    certificate: Option<ServiceCertificate>,
}

impl Created {
    /// Deletes it, because the certificate was refused.
    async fn take_back<B: Backend>(self, session: &Session<B>, name: &ObjectName, why: &str) -> CommandError {
        let mut left = Vec::new();
        if let Some(certificate) = self.certificate
            && let Err(error) = session.backend.delete_certificate(&certificate).await
        {
            left.push(format!("the certificate {name} is left: {error}"));
        }
        if let Some(authority) = self.authority {
            let own = authority.metadata.name.clone().unwrap_or_default();
            match Self::is_used(session, &own, name).await {
                // Others have begun to use it.
                Ok(true) => {}
                Ok(false) => {
                    if let Err(error) = session.backend.delete_authority(&authority).await {
                        left.push(format!("the authority {own} is left: {error}"));
                    }
                }
                Err(error) => left.push(format!("the authority {own} is left: {error}")),
            }
        }
        let left = if left.is_empty() { "nothing was created".to_owned() } else { left.join("; ") };
        CommandError::Failed(format!("{name}: refused: {why}; {left}"))
    }

    /// Whether another certificate names this authority.
    async fn is_used<B: Backend>(
        session: &Session<B>,
        authority: &str,
        own: &ObjectName,
    ) -> Result<bool, BackendError> {
        let certificates = session.backend.certificates(None).await?;
        Ok(certificates.iter().any(|other| {
            let is_own = other.metadata.namespace.as_ref() == Some(&own.namespace)
                && other.metadata.name.as_ref() == Some(&own.name);
            other.spec.authority == authority && !is_own
        }))
    }
}

async fn create_and_follow<B: Backend>(
    session: &mut Session<B>,
    args: &IssueArgs,
    object: &ServiceCertificate,
    created: &mut Created,
) -> Result<CertificateStatus, Issuing> {
    if let (Some(authority), true) = (&args.authority, args.create_authority) {
        match session
            .backend
            .create_authority(&CertificateAuthority::new(authority, authority_spec(args)))
            .await
        {
            Ok(object) => {
                created.authority = Some(object);
                print_progress(session, &format!("created the authority {authority}"));
            }
            Err(BackendError::Exists(_)) => {}
            Err(error) => return Err(Issuing::Refused(error.to_string())),
        }
    }
    match session.backend.create_certificate(object).await {
        Ok(object) => created.certificate = Some(object),
        Err(error) => return Err(Issuing::Refused(error.to_string())),
    }
    print_progress(session, &format!("created the certificate {}", args.name));
    follow(session, &args.name, args.wait.timeout, issue_progress).await.map_err(|error| match error {
        CommandError::Refused(why) => Issuing::Refused(why),
        error => Issuing::Failed(error),
    })
}

fn issue_progress(status: &CertificateStatus) -> Progress {
    match Condition::find(&status.conditions, ConditionType::Ready) {
        Some(ready) if ready.status == ConditionStatus::True => serving_progress(status),
        Some(ready) if matches!(ready.reason, Reason::InvalidSpec | Reason::ForeignSecret) => {
            Progress::Refused(ready.message.clone())
        }
        Some(ready) => Progress::Waiting(format!("{}: {}", ready.reason, ready.message)),
        None => Progress::Waiting("for the control plane to read the new certificate".into()),
    }
}

fn authority_spec(args: &IssueArgs) -> CertificateAuthoritySpec {
    CertificateAuthoritySpec {
        namespaces: vec![args.name.namespace.clone()],
        cluster: args.cluster.clone(),
        any_name: args.any_name.then_some(true),
        trust_domain: args.trust_domain.clone(),
        allowed_names: allowed_names(args),
        name_constraints: (!args.permitted_dns_domains.is_empty())
            .then(|| NameConstraints { permitted_dns_domains: args.permitted_dns_domains.clone() }),
        ..Default::default()
    }
}

fn allowed_names(args: &IssueArgs) -> Option<AllowedNames> {
    let allowed = AllowedNames {
        dns_names: args.allowed_dns_names.clone(),
        ip_addresses: args.allowed_ip_addresses.clone(),
        spiffe_ids: Vec::new(),
    };
    (allowed != AllowedNames::default()).then_some(allowed)
}

/// Rejects before it is created what the controller would reject afterwards.
async fn validate<B: Backend>(
    session: &Session<B>,
    args: &IssueArgs,
    spec: &ServiceCertificateSpec,
) -> Result<(), CommandError> {
    let invalid = |errors: Vec<String>| CommandError::Failed(errors.join("; "));
    let ObjectName { namespace, name } = &args.name;
    if args.service.is_none() && name.parse::<Naming>().is_err() {
        return Err(CommandError::Failed(format!(
            "{} is not a name of a certificate: write TYPE-CLUSTER-MICROSERVICE, such as \
             {namespace}/mtls-local-payments; TYPE is mtls, server or client; with --service any name will do",
            args.name
        )));
    }
    let Some(authority_name) = &args.authority else {
        FetchedSettings::validate(name, spec).map_err(invalid)?;
        return Ok(());
    };
    // The controller has the domain of the cluster: what depends on it is left to it.
    let validate_authority = |spec: &CertificateAuthoritySpec| {
        AuthoritySettings::validate(authority_name, spec, &ClusterDomain::Unknown)
    };
    let invalid_authority = |errors: Vec<String>| {
        CommandError::Failed(format!("authority {authority_name}: {}", errors.join("; ")))
    };
    let authority = match session.backend.authority(authority_name).await {
        Ok(authority) => {
            refuse_other_settings(session, args, authority_name, &authority.spec)?;
            authority.spec
        }
        Err(BackendError::Missing(_)) if args.create_authority => authority_spec(args),
        Err(BackendError::Missing(_)) => {
            validate_authority(&authority_spec(args)).map_err(invalid_authority)?;
            let message =
                format!("there is no authority {authority_name}: create it with --create-authority");
            return Err(CommandError::Failed(message));
        }
        // Without permission to read authorities it is left to the controller to validate.
        Err(_) => return Ok(()),
    };
    let authority = validate_authority(&authority).map_err(invalid_authority)?;
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

/// An authority that exists is not changed: what was asked for of a new one has to be true of it already.
fn refuse_other_settings<B: Backend>(
    session: &Session<B>,
    args: &IssueArgs,
    name: &str,
    spec: &CertificateAuthoritySpec,
) -> Result<(), CommandError> {
    let domain = spec.trust_domain.as_deref().unwrap_or(TRUST_DOMAIN);
    let differs = if args.any_name && spec.any_name != Some(true) {
        "without anyName: true".to_owned()
    } else if args.trust_domain.as_deref().is_some_and(|asked| asked != domain) {
        format!("with the trust domain {domain}")
    } else if let Some(field) = missing_names(args, spec) {
        format!("without that in its {field}")
    } else {
        return Ok(());
    };
    let how = session.backend.how_to_change_authority(name);
    Err(CommandError::Failed(format!(
        "the authority {name} exists {differs}, and --create-authority does not change it: {how}, or name another"
    )))
}

/// The field of an existing authority that lacks what was asked for.
fn missing_names(args: &IssueArgs, spec: &CertificateAuthoritySpec) -> Option<&'static str> {
    let allowed = spec.allowed_names.clone().unwrap_or_default();
    let permitted = spec.name_constraints.clone().unwrap_or_default().permitted_dns_domains;
    [
        ("allowedNames.dnsNames", &args.allowed_dns_names, allowed.dns_names),
        ("allowedNames.ipAddresses", &args.allowed_ip_addresses, allowed.ip_addresses),
        ("nameConstraints.permittedDnsDomains", &args.permitted_dns_domains, permitted),
    ]
    .into_iter()
    .find(|(_, asked, there)| asked.iter().any(|name| !there.contains(name)))
    .map(|(field, ..)| field)
}
