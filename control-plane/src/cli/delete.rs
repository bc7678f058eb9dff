//! `hotcert delete`: deletes a certificate, or an authority that no certificate names. Without `--yes` it prints what
//! that means and deletes nothing. What is published stays, because pods serve it.

use std::time::SystemTime;

use clap::Args;
use hotcert_log::outln;
use serde_json::json;

use super::table::{parse_time, rounded_span};
use crate::api::object_name::ObjectName;
use crate::api::resource::{CertificateAuthority, ServedStatus, ServiceCertificate};
use crate::cli::arguments::{object_ref, short_root};
use crate::cli::backend::Backend;
use crate::cli::session::{CommandError, Session};
use crate::store::ObjectRef;

#[derive(Debug, Args)]
pub struct DeleteArgs {
    /// NAMESPACE/NAME of a certificate, such as shop/mtls-prod-payments, or NAME of an authority, such as
    /// root-prod-shop, that no certificate names any more
    #[arg(value_parser = object_ref)]
    name: ObjectRef,
    /// Delete it, instead of only printing what that means
    #[arg(long)]
    yes: bool,
}

/// How many pods or certificates are named.
const MAX_NAMED: usize = 5;

pub(super) async fn run<B: Backend>(session: &mut Session<B>, args: &DeleteArgs) -> Result<(), CommandError> {
    let impact = match &args.name {
        ObjectRef::Certificate(name) => {
            let object = session.backend.certificate(name).await?;
            let impact = certificate_impact(session, name, &object).await;
            if args.yes {
                session.backend.delete_certificate(&object).await?;
            }
            impact
        }
        ObjectRef::Authority(name) => {
            let object = session.backend.authority(name).await?;
            refuse_if_named(session, name).await?;
            if args.yes {
                session.backend.delete_authority(&object).await?;
            }
            authority_impact(session, name, &object)
        }
    };
    print(session, args, &impact);
    Ok(())
}

fn print<B: Backend>(session: &Session<B>, args: &DeleteArgs, impact: &[String]) {
    let DeleteArgs { name, yes } = args;
    if session.json {
        outln!("{:#}", json!({"object": name.to_string(), "deleted": yes, "impact": impact}));
        return;
    }
    outln!("{}:", if *yes { format!("Deleted {name}") } else { format!("Deleting {name} would mean") });
    for line in impact {
        outln!("- {line}");
    }
    if !yes {
        outln!("Nothing was done. Run it again with --yes to do it.");
    }
}

async fn certificate_impact<B: Backend>(
    session: &Session<B>,
    name: &ObjectName,
    object: &ServiceCertificate,
) -> Vec<String> {
    let status = object.status.clone().unwrap_or_default();
    let published = status.serial.as_ref().and(status.secret_name.as_deref());
    let Some(secret) = published else { return vec!["nothing is published for it".into()] };
    let target = session.backend.target(&name.namespace, secret);
    let end = parse_time(status.not_after.as_deref());
    let end = end.map_or_else(|| "-".into(), |end| rounded_span(SystemTime::now(), end));
    let mut impact = vec![
        format!("its Secret stays until you delete it: {target}"),
        format!("it is not renewed any more: what is published expires in {end}"),
        "its stored versions cannot be published again".into(),
        pods(session.backend.pods(), status.served.as_ref()),
    ];
    let authority = &object.spec.authority;
    if !authority.is_empty() {
        impact.push(format!("a rollover of {authority} waits as long as a pod mounts the Secret"));
        // Without permission to read authorities it is left out.
        let rollover =
            session.backend.authority(authority).await.ok().and_then(|found| found.status?.rollover);
        if rollover.is_some() {
            impact.push(format!(
                "a rollover of {authority} is under way, and waits for these pods from now on"
            ));
        }
    }
    impact
}

/// Which pods serve what stays.
fn pods(what: &str, served: Option<&ServedStatus>) -> String {
    let Some(served) = served.filter(|served| served.pods > 0) else {
        return format!("no {what} are known to mount it");
    };
    let named: Vec<_> = served.by_pod.iter().take(MAX_NAMED).map(|pod| pod.pod.clone()).collect();
    let total = usize::try_from(served.pods).unwrap_or_default();
    format!("{what} that mount it, and serve it until it expires: {}", listed(&named, total))
}

/// What names it would be left without a root.
async fn refuse_if_named<B: Backend>(session: &Session<B>, name: &str) -> Result<(), CommandError> {
    let certificates = session.backend.certificates(None).await?;
    let named: Vec<_> = certificates
        .iter()
        .filter(|certificate| certificate.spec.authority == name)
        .map(|ServiceCertificate { metadata, .. }| {
            let part = |part: &Option<String>| part.clone().unwrap_or_default();
            ObjectName::new(part(&metadata.namespace), part(&metadata.name)).to_string()
        })
        .collect();
    if named.is_empty() {
        return Ok(());
    }
    Err(CommandError::Failed(format!(
        "certificates name the authority {name}, and would not be renewed without it: {}. Delete them first with \
         hotcert delete, or have them name another",
        listed(&named, named.len())
    )))
}

fn authority_impact<B: Backend>(
    session: &Session<B>,
    name: &str,
    object: &CertificateAuthority,
) -> Vec<String> {
    let status = object.status.clone().unwrap_or_default();
    let Some(root) = status.root else {
        return vec!["it has no root yet, and no certificate names it".into()];
    };
    let keyring = session.backend.keyring(name);
    let mut impact = vec![
        "no certificate names it; Secrets of deleted certificates stay as they are".to_owned(),
        format!("its root {} and key stay until you delete them: {keyring}", short_root(&root.sha256)),
        "an authority that is created with this name uses them again".to_owned(),
    ];
    if status.rollover.is_some() {
        impact.push("its rollover stops where it is".into());
    }
    impact
}

fn listed(named: &[String], total: usize) -> String {
    let first = named.iter().take(MAX_NAMED).cloned().collect::<Vec<_>>().join(", ");
    let more = total.saturating_sub(named.len().min(MAX_NAMED));
    if more > 0 { format!("{first} and {more} more") } else { first }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::resource::PodServed;

    #[test]
    fn pods_that_serve_what_stays_are_named_and_the_rest_counted() {
        let served = |pods: i64| ServedStatus {
            pods,
            by_pod: (0..pods)
                .map(|number| PodServed { pod: format!("p{number}"), ..PodServed::default() })
                .collect(),
            ..ServedStatus::default()
        };
        assert_eq!(pods("pods", None), "no pods are known to mount it");
        assert_eq!(pods("pods", Some(&served(0))), "no pods are known to mount it");
        assert!(pods("pods", Some(&served(2))).ends_with(": p0, p1"));
        assert!(pods("pods", Some(&served(8))).ends_with("p3, p4 and 3 more"));
    }
}
