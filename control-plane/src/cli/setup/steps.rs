//! The sequence of `hotcert setup ibm`. A dry run goes through the same code, so that it prints what a first run sends.

use std::collections::BTreeSet;
use std::time::Duration;

use hotcert_log::outln;

use super::api::Api;
use super::args::{Event, IbmArgs, SetupIbmArgs};
use super::certificate::Certificate;
use super::files::{Files, api_key};
use super::names::Names;
use super::progress::Progress;
use super::settings::Settings;
use crate::external::ibm::{Client, Endpoints};

pub const SECRETS_MANAGER: &str = "secrets-manager";
pub const EVENT_NOTIFICATIONS: &str = "event-notifications";
const STEPS: usize = 14;

pub struct Run<'r> {
    pub(super) api: Api,
    pub(super) progress: Progress,
    pub(super) names: &'r Names,
    pub(super) region: &'r str,
    pub(super) timeout: Duration,
}

/// An instance that is wanted.
pub struct Wanted<'w> {
    pub service: &'static str,
    pub name: &'w str,
    pub plan: &'w str,
    /// A name or an id.
    pub plan_name: &'w str,
    pub resource_group: &'w str,
}

impl Run<'_> {
    /// Shorter than `usual` where little time is given.
    pub(super) fn poll(&self, usual: Duration) -> Duration {
        usual.min(self.timeout / 50)
    }
}

pub(super) fn client(args: &IbmArgs, is_dry: bool) -> Result<Client, String> {
    let endpoints = Endpoints::read(args.endpoints.as_deref(), &args.region)?;
    let key = if is_dry { Default::default() } else { api_key(&args.api_key)? };
    Ok(Client::new(endpoints, key))
}

pub(super) async fn run(args: &SetupIbmArgs) -> Result<(), String> {
    let names = Names::new(&args.ibm);
    // Mistakes in files come before the first request.
    let certificate = Certificate::of(args)?;
    let files = Files::new(args);
    let client = client(&args.ibm, args.dry_run)?;
    let mut run = Run {
        api: if args.dry_run { Api::Dry(client) } else { Api::Live(client) },
        progress: Progress::new(STEPS, args.dry_run),
        names: &names,
        region: &args.ibm.region,
        timeout: args.timeout,
    };
    let group = run.resource_group(args.resource_group.as_deref()).await?;
    let (events_plan, secrets_plan) = (&args.event_notifications_plan, &args.secrets_manager_plan);
    let events_plan_id = run.plan(EVENT_NOTIFICATIONS, events_plan).await?;
    let secrets_plan_id = run.plan(SECRETS_MANAGER, secrets_plan).await?;
    let wanted =
        |service, name, plan, plan_name| Wanted { service, name, plan, plan_name, resource_group: &group };
    let events_name = &names.event_notifications;
    let secrets_name = &names.secrets_manager;
    let events =
        run.instance(&wanted(EVENT_NOTIFICATIONS, events_name, &events_plan_id, events_plan)).await?;
    let secrets =
        run.instance(&wanted(SECRETS_MANAGER, secrets_name, &secrets_plan_id, secrets_plan)).await?;
    // Both are made at the same time.
    let (events, events_guid) = run.active(events, events_name).await?;
    let (secrets, secrets_guid) = run.active(secrets, secrets_name).await?;
    run.api.client().use_secrets_manager(&secrets_guid);

    let is_new = run.authorization(&secrets, &events).await?;
    run.registration(&secrets, &events, &events_guid, is_new).await?;
    let selected: BTreeSet<Event> = args.events.iter().copied().collect();
    let topic = run.topic(&events_guid, &secrets, &selected).await?;
    let url = receiver_url(&args.receiver, &names.setup);
    let destination = run.destination(&events_guid, &url, &files).await?;
    run.subscription(&events_guid, &destination, &topic).await?;
    run.secret(&certificate, &files).await?;

    run.progress.begin("settings");
    let settings = Settings {
        name: &names.setup,
        url: run.api.secrets_manager_url(),
        instance: secrets.as_str(),
        secret: &names.secret,
        namespace: &args.namespace,
        events: &selected,
        endpoints: run.api.client().endpoints(),
    };
    if args.dry_run {
        outln!("No request. The settings that would be printed and written to {}:\n", files.settings_path());
        outln!("{}", settings.yaml(certificate.is_made()));
        return Ok(());
    }
    files.write_ca(settings.endpoints)?;
    let yaml = settings.yaml(files.has_root());
    let is_written = files.write_settings(&yaml)?;
    run.progress.done(if is_written { "written" } else { "unchanged, or kept beside other settings" });
    report(&run.progress);
    outln!("\nSettings of the controller (in {}):\n\n{yaml}", files.settings_path());
    outln!(
        "The Secret with them, which an overlay mounts into the controller:\n\n{}",
        files.command(&args.ibm)
    );
    Ok(())
}

fn report(progress: &Progress) {
    match progress.changes() {
        0 => outln!("\nNothing was changed: all of it was there."),
        changes => outln!("\nMade {changes}; what else is needed was there."),
    }
    if progress.differences() > 0 {
        outln!("What differs was left as it is: see above.");
    }
}

/// Without a path of its own, that of the sender.
fn receiver_url(receiver: &str, sender: &str) -> String {
    match receiver.split_once("://") {
        Some((_, rest)) if rest.contains('/') => receiver.to_owned(),
        _ => format!("{receiver}/notifications/{sender}"),
    }
}
