//! `hotcert status`: the fleet, one line for each pod.

mod rows;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime};

use clap::Args;
use hotcert_log::{outln, terminal};
use rows::rows;
use serde_json::{Value, json};

use super::table::{Table, parse_time, rounded_span};
use crate::api::condition::{Condition, ConditionStatus, ConditionType, Reason};
use crate::api::request::reason_text;
use crate::api::resource::{CertificateAuthority, ServiceCertificate};
use crate::cli::arguments::short_root;
use crate::cli::backend::{Backend, LivePod};
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

/// How old a list of the pods may be while the status is printed again and again.
const RELIST: Duration = Duration::from_secs(5);

pub(super) async fn run<B: Backend>(session: &mut Session<B>, args: &StatusArgs) -> Result<(), CommandError> {
    let mut printed = String::new();
    let mut pods = LivePodCache::default();
    loop {
        let mut fleet = Fleet::read(&session.backend, args.namespace.as_deref()).await?;
        if !session.json {
            fleet.pods = pods.refresh(&session.backend, &fleet.certificates).await;
        }
        let now = SystemTime::now();
        let output = if session.json { format!("{:#}", fleet.json(now)) } else { fleet.text(now) };
        if output != printed {
            outln!("{output}");
            if args.watch {
                outln!("");
            }
            printed = output;
        }
        if !args.watch || terminal::is_closed() {
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
    /// The pods as they are now, by namespace and name, where they can be listed.
    pods: BTreeMap<String, BTreeMap<String, LivePod>>,
    /// The namespace that the listing is limited to.
    namespace: Option<String>,
}

/// The pods of the certificates' namespaces, listed again after a while.
#[derive(Default)]
struct LivePodCache {
    listed_at: Option<Instant>,
    pods: BTreeMap<String, BTreeMap<String, LivePod>>,
}

impl LivePodCache {
    async fn refresh<B: Backend>(
        &mut self,
        backend: &B,
        certificates: &[ServiceCertificate],
    ) -> BTreeMap<String, BTreeMap<String, LivePod>> {
        if self.listed_at.is_none_or(|at| at.elapsed() > RELIST) {
            self.listed_at = Some(Instant::now());
            let namespaces: BTreeSet<_> =
                certificates.iter().filter_map(|object| object.metadata.namespace.clone()).collect();
            self.pods.clear();
            for namespace in namespaces {
                if let Some(pods) = backend.live_pods(&namespace).await {
                    self.pods.insert(namespace, pods);
                }
            }
        }
        self.pods.clone()
    }
}

impl Fleet {
    pub async fn read<B: Backend>(backend: &B, namespace: Option<&str>) -> Result<Self, CommandError> {
        Ok(Self {
            authorities: backend.authorities().await?,
            certificates: backend.certificates(namespace).await?,
            read_errors: backend.read_errors().await?,
            pods: BTreeMap::new(),
            namespace: namespace.map(str::to_owned),
        })
    }

    /// A message if the controller rejects its notification settings, which every authority says.
    pub fn settings_rejected(&self) -> Option<String> {
        let mut statuses = self.authorities.iter().filter_map(|authority| authority.status.as_ref());
        let condition = statuses
            .find_map(|status| Condition::find(&status.conditions, ConditionType::SettingsRejected))?;
        Some(format!("the notification settings are rejected: {}", condition.message))
    }

    /// A message if the listing is limited to a namespace without certificates.
    pub fn empty_namespace(&self) -> Option<String> {
        let namespace = self.namespace.as_ref().filter(|_| self.certificates.is_empty())?;
        Some(format!("no certificates in the namespace {namespace}"))
    }

    fn json(&self, now: SystemTime) -> Value {
        let authority = |authority: &CertificateAuthority| {
            let status = authority.status.as_ref();
            let root = status.and_then(|status| status.root.as_ref());
            let not_after = parse_time(root.map(|root| root.not_after.as_str()));
            let ready = status.is_some_and(|status| is_ready(&status.conditions, not_after, now));
            json!({"name": authority.metadata.name, "ready": ready, "status": status})
        };
        let certificate = |certificate: &ServiceCertificate| {
            let status = certificate.status.as_ref();
            let not_after = parse_time(status.and_then(|status| status.not_after.as_deref()));
            let ready = status.is_some_and(|status| is_ready(&status.conditions, not_after, now));
            json!({
                "namespace": certificate.metadata.namespace,
                "name": certificate.metadata.name,
                "authority": Some(&certificate.spec.authority).filter(|authority| !authority.is_empty()),
                "manager": certificate.spec.manager,
                "ready": ready,
                "status": status,
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
                ready(&status.conditions, parse_time(Some(&root.not_after)), now),
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
            let namespace = certificate.metadata.namespace.as_deref().unwrap_or_default();
            for row in rows(certificate, self.pods.get(namespace), now) {
                pods.row(row);
            }
        }
        let mut parts = self.read_errors.clone();
        parts.extend(self.settings_rejected());
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

/// The condition Ready, unless what it speaks of has expired since: without a controller nobody says so in the status.
fn ready(conditions: &[Condition], not_after: Option<SystemTime>, now: SystemTime) -> String {
    match not_after.filter(|end| *end <= now) {
        Some(end) if is_true(conditions) => {
            format!("no, Expired: it expired {} ago; is the controller running?", rounded_span(end, now))
        }
        _ => describe_condition(conditions, ConditionType::Ready),
    }
}

fn is_ready(conditions: &[Condition], not_after: Option<SystemTime>, now: SystemTime) -> bool {
    is_true(conditions) && not_after.is_none_or(|end| now < end)
}

fn is_true(conditions: &[Condition]) -> bool {
    let ready = Condition::find(conditions, ConditionType::Ready);
    ready.is_some_and(|ready| ready.status == ConditionStatus::True)
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
