//! `hotcert status`: the fleet, one line for each pod.

use std::time::{Duration, SystemTime};

use clap::Args;
use serde_json::{Value, json};

use super::table::{Table, parse_time, rounded_span};
use crate::api::condition::{Condition, ConditionStatus, ConditionType, Reason};
use crate::api::request::reason_text;
use crate::api::resource::{CertificateAuthority, PodServed, ServiceCertificate};
use crate::cli::arguments::short_root;
use crate::cli::backend::Backend;
use crate::cli::session::{CommandError, Session};

#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Show only the certificates of this namespace
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,
    /// Print it again whenever something changes, until interrupted
    #[arg(short, long)]
    watch: bool,
}

pub(super) async fn run<B: Backend>(session: &mut Session<B>, args: &StatusArgs) -> Result<(), CommandError> {
    let mut printed = String::new();
    loop {
        let fleet = Fleet::read(&session.backend, args.namespace.as_deref()).await?;
        let now = SystemTime::now();
        let output = if session.json { format!("{:#}", fleet.json()) } else { fleet.text(now) };
        if output != printed {
            println!("{output}");
            if args.watch {
                println!();
            }
            printed = output;
        }
        if !args.watch {
            return Ok(());
        }
        session.backend.advance().await?;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

pub(super) struct Fleet {
    pub authorities: Vec<CertificateAuthority>,
    pub certificates: Vec<ServiceCertificate>,
    /// Objects that exist but cannot be read.
    pub read_errors: Vec<String>,
    /// The namespace that the listing is limited to.
    namespace: Option<String>,
}

impl Fleet {
    pub async fn read<B: Backend>(backend: &B, namespace: Option<&str>) -> Result<Self, CommandError> {
        Ok(Self {
            authorities: backend.authorities().await?,
            certificates: backend.certificates(namespace).await?,
            read_errors: backend.read_errors().await?,
            namespace: namespace.map(str::to_owned),
        })
    }

    /// A message if the listing is limited to a namespace without certificates.
    pub fn empty_namespace(&self) -> Option<String> {
        let namespace = self.namespace.as_ref().filter(|_| self.certificates.is_empty())?;
        Some(format!("no certificates in the namespace {namespace}"))
    }

    fn json(&self) -> Value {
        let authority = |authority: &CertificateAuthority| json!({"name": authority.metadata.name, "status": authority.status});
        let certificate = |certificate: &ServiceCertificate| {
            json!({
                "namespace": certificate.metadata.namespace,
                "name": certificate.metadata.name,
                "authority": Some(&certificate.spec.authority).filter(|authority| !authority.is_empty()),
                "manager": certificate.spec.manager,
                "status": certificate.status,
            })
        };
        json!({
            "authorities": self.authorities.iter().map(authority).collect::<Vec<_>>(),
            "certificates": self.certificates.iter().map(certificate).collect::<Vec<_>>(),
            "problems": self.read_errors,
        })
    }

    fn text(&self, now: SystemTime) -> String {
        let mut authorities =
            Table::new(&["AUTHORITY", "PHASE", "CERTIFICATES", "ROOT", "EXPIRES IN", "READY"]);
        let mut waiting = Vec::new();
        for authority in &self.authorities {
            let name = authority.metadata.name.clone().unwrap_or_default();
            let status = authority.status.clone().unwrap_or_default();
            let root = status.root.unwrap_or_default();
            authorities.row(vec![
                name.clone(),
                status.phase.unwrap_or_else(|| "-".into()),
                status.certificates.unwrap_or(0).to_string(),
                short_root(&root.sha256).to_owned(),
                parse_time(Some(&root.not_after)).map_or_else(|| "-".into(), |end| rounded_span(now, end)),
                describe_condition(&status.conditions, ConditionType::Ready),
            ]);
            if let Some(rollover) = status.rollover {
                let reason = reason_text(&rollover.reason);
                waiting
                    .push(format!("{name}: rollover, {reason} (phase since {})", rollover.phase_started_at));
                waiting.extend(rollover.waiting_for.iter().map(|hold| format!("  waits for {hold}")));
                let more =
                    rollover.waiting_for_total - i64::try_from(rollover.waiting_for.len()).unwrap_or(0);
                if more > 0 {
                    waiting.push(format!("  and for {more} more pods or certificates"));
                }
                waiting.extend(rollover.overrides.iter().map(|pod| format!("  continues without {pod}")));
            }
        }
        let mut pods = Table::new(&["CERTIFICATE", "POD", "SERIAL", "AGE", "EXPIRES IN", "SERVED", "READY"]);
        for certificate in &self.certificates {
            for row in rows(certificate, now) {
                pods.row(row);
            }
        }
        let mut parts = self.read_errors.clone();
        for table in [authorities, pods] {
            if !table.is_empty() {
                parts.push(table.to_string());
            }
        }
        parts.extend(self.empty_namespace());
        if parts.is_empty() {
            parts.push("No authorities and no certificates yet. Create the first with hotcert issue; see hotcert issue --help".into());
        }
        if !waiting.is_empty() {
            parts.push(waiting.join("\n"));
        }
        parts.join("\n\n")
    }
}

/// One line for each pod that was probed, or one without a pod.
fn rows(certificate: &ServiceCertificate, now: SystemTime) -> Vec<Vec<String>> {
    let status = certificate.status.clone().unwrap_or_default();
    let name = format!(
        "{}/{}",
        certificate.metadata.namespace.as_deref().unwrap_or_default(),
        certificate.metadata.name.as_deref().unwrap_or_default()
    );
    let ready = describe_condition(&status.conditions, ConditionType::Ready);
    let published = status.serial.as_deref().and_then(|serial| serial.get(..12)).unwrap_or("-").to_owned();
    // Published, but no pod is known to serve it.
    let not_served = if status.serial.is_some() { format!("({published})") } else { "-".to_owned() };
    let age = parse_time(status.published_at.as_deref())
        .map_or_else(|| "-".into(), |begin| rounded_span(begin, now));
    let end =
        parse_time(status.not_after.as_deref()).map_or_else(|| "-".into(), |end| rounded_span(now, end));
    let row = |pod: String, serial: String, served: String| {
        vec![name.clone(), pod, serial, age.clone(), end.clone(), served, ready.clone()]
    };
    let current = status.served.as_ref().filter(|served| Some(served.revision) == status.revision);
    let Some(served) = current else {
        let state = if status.serial.is_some() { "probing" } else { "-" };
        return vec![row("-".into(), not_served, state.into())];
    };
    if served.by_pod.is_empty() {
        return vec![row("-".into(), not_served, "no pods".into())];
    }
    let mut rows: Vec<_> = served
        .by_pod
        .iter()
        .map(|PodServed { pod, seconds, problem }| match problem {
            Some(problem) => row(pod.clone(), "-".into(), format!("no: {problem}")),
            None => {
                row(pod.clone(), published.clone(), format!("yes, after {:.2} s", seconds.unwrap_or(0.0)))
            }
        })
        .collect();
    let more = served.pods - i64::try_from(served.by_pod.len()).unwrap_or(0);
    if more > 0 {
        rows.push(row(
            format!("({more} more)"),
            "-".into(),
            format!("{} of {}", served.serving, served.pods),
        ));
    }
    rows
}

/// `yes`, or the condition's reason and message.
fn describe_condition(conditions: &[Condition], kind: ConditionType) -> String {
    match Condition::find(conditions, kind) {
        Some(condition)
            if condition.status == ConditionStatus::True
                && matches!(condition.reason, Reason::Published | Reason::Usable) =>
        {
            "yes".into()
        }
        Some(condition) if condition.status == ConditionStatus::True => {
            format!("yes, {}: {}", condition.reason, condition.message)
        }
        Some(condition) => format!("no, {}: {}", condition.reason, condition.message),
        None => "not reconciled yet: is the controller running?".into(),
    }
}
