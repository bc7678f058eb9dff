//! `hotcert teardown ibm`: finds what setup has made, by name and mark, and removes it. An instance stays while it has
//! anything that setup did not make.

use std::io::{BufRead as _, IsTerminal as _};
use std::time::Duration;

use hotcert_log::{outln, terminal};
use serde_json::json;

use super::api::Api;
use super::args::TeardownIbmArgs;
use super::names::Names;
use super::progress::Progress;
use super::steps::{EVENT_NOTIFICATIONS, Run, SECRETS_MANAGER, client};
use crate::external::ibm::event_notifications::Collection;
use crate::external::ibm::global_tagging::{self, Tags};
use crate::external::ibm::resource_controller::{self, Instance};
use crate::external::ibm::secrets_manager::{self, Secrets};
use crate::external::ibm::{ApiRequest, Crn, iam};

const PERMISSION: &str = "the roles Editor and Manager on both instances";

/// What was found, in the order in which it is removed.
#[derive(Default)]
struct Found {
    removals: Vec<Removal>,
    /// What stays, and why.
    kept: Vec<String>,
}

struct Removal {
    what: String,
    request: ApiRequest,
}

impl Found {
    fn remove(&mut self, what: impl Into<String>, request: ApiRequest) {
        self.removals.push(Removal { what: what.into(), request });
    }

    fn keep(&mut self, why: impl Into<String>) {
        self.kept.push(why.into());
    }
}

pub(super) async fn run(args: &TeardownIbmArgs) -> Result<(), String> {
    let names = Names::new(&args.ibm);
    let mut run = Run {
        api: Api::Live(client(&args.ibm, false)?),
        progress: Progress::quiet("look for what setup has made"),
        names: &names,
        region: &args.ibm.region,
        timeout: Duration::from_secs(120),
    };
    let found = find(&mut run).await?;
    for kept in &found.kept {
        outln!("stays: {kept}");
    }
    if found.removals.is_empty() {
        outln!("There is nothing to remove that hotcert setup ibm has made with the name {}.", names.setup);
        return Ok(());
    }
    if args.dry_run {
        for Removal { what, request } in &found.removals {
            let base = run.api.client().base(request.service);
            outln!("# remove {what}\n{}\n", request.describe(&base));
        }
        return Ok(());
    }
    for Removal { what, .. } in &found.removals {
        outln!("removes: {what}");
    }
    if !args.yes && !tokio::task::spawn_blocking(is_confirmed).await.unwrap_or(false) {
        return Err("nothing was removed: answer yes, or give --yes".into());
    }
    run.progress = Progress::new(found.removals.len(), false);
    for Removal { what, request } in &found.removals {
        run.progress.begin(what.as_str());
        run.remove(request, PERMISSION).await?;
        run.progress.removed();
    }
    outln!(
        "\nRemoved {}. An instance of Secrets Manager can be restored for some days, with what is in it.",
        run.progress.changes()
    );
    Ok(())
}

fn is_confirmed() -> bool {
    terminal::print(format_args!("Remove all of it? Write yes: "));
    if !std::io::stdin().is_terminal() {
        outln!("");
    }
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    read.is_ok() && line.trim() == "yes"
}

async fn find(run: &mut Run<'_>) -> Result<Found, String> {
    let (names, mut found) = (run.names, Found::default());
    let events = run.find_instance(EVENT_NOTIFICATIONS, &names.event_notifications).await?;
    let secrets = run.find_instance(SECRETS_MANAGER, &names.secrets_manager).await?;
    let is_used = match &events {
        Some(events) => find_notifications(run, events, secrets.as_ref(), &mut found).await?,
        None => false,
    };
    let holds_more = match &secrets {
        Some(secrets) => find_secrets(run, secrets, events.as_ref(), &mut found).await?,
        None => false,
    };
    find_authorizations(run, events.as_ref().or(secrets.as_ref()), &mut found).await?;
    for (instance, has_more, what) in [
        (&secrets, holds_more, "it has secrets that setup did not make"),
        (&events, is_used, "it has sources, topics, destinations or subscriptions that setup did not make"),
    ] {
        let Some(instance) = instance else { continue };
        let tags: Tags = run.parsed(&global_tagging::list(&instance.crn), || json!({}), PERMISSION).await?;
        if !tags.has(&names.tag) {
            found.keep(format!("instance {}: setup did not make it (no tag {})", instance.name, names.tag));
        } else if has_more {
            found.keep(format!("instance {}: {what}", instance.name));
        } else {
            let request = resource_controller::delete(&instance.guid);
            found.remove(format!("instance {} ({})", instance.name, instance.crn), request);
        }
    }
    Ok(found)
}

/// Whether it has anything else.
async fn find_notifications(
    run: &mut Run<'_>,
    events: &Instance,
    secrets: Option<&Instance>,
    found: &mut Found,
) -> Result<bool, String> {
    let (names, mut has_more) = (run.names, false);
    let wanted = [
        (Collection::Subscriptions, "subscription", &names.subscription),
        (Collection::Destinations, "destination", &names.destination),
        (Collection::Topics, "topic", &names.topic),
    ];
    for (collection, kind, name) in wanted {
        for item in run.items(collection, &events.guid, None, json!({})).await? {
            if item.name != *name {
                has_more |= !(collection == Collection::Destinations && is_built_in(&item.name));
            } else if names.is_marked(&item.description) {
                let request = collection.delete(&events.guid, &item.id);
                found.remove(format!("{kind} {name}"), request);
            } else {
                found.keep(format!("{kind} {name}: setup did not make it"));
                has_more = true;
            }
        }
    }
    for source in run.items(Collection::Sources, &events.guid, None, json!({})).await? {
        let is_known = secrets.is_some_and(|secrets| secrets.crn == source.id);
        // Nothing comes from an API source that no topic has; an instance is made with one.
        let is_idle = source.r#type == "api" && source.topic_count == 0;
        has_more |= !(is_known && names.is_marked(&source.description) || is_idle);
    }
    Ok(has_more)
}

/// The destinations for IBM's own e-mail and short messages.
fn is_built_in(name: &str) -> bool {
    name.starts_with("IBM Cloud ") && name.ends_with(" service")
}

/// Whether it has anything else.
async fn find_secrets(
    run: &mut Run<'_>,
    secrets: &Instance,
    events: Option<&Instance>,
    found: &mut Found,
) -> Result<bool, String> {
    let names = run.names;
    if secrets.state != "active" {
        return Ok(false);
    }
    run.api.client().use_secrets_manager(&secrets.guid);
    let list: Secrets = run.parsed(&secrets_manager::list(), || json!({}), PERMISSION).await?;
    let mut has_more = list.total_count > list.secrets.len() as u64;
    if let Some(secret) = run.find_secret().await? {
        if names.is_marked(&secret.description) {
            found.remove(format!("secret {}", secret.name), secrets_manager::delete(&secret.id));
            has_more |= list.secrets.iter().any(|other| other.id != secret.id);
        } else {
            found.keep(format!("secret {}: setup did not make it", secret.name));
            has_more = true;
        }
    } else {
        has_more |= !list.secrets.is_empty();
    }
    let Some(events) = events else { return Ok(has_more) };
    if run.registered().await?.as_deref() == Some(&events.crn) {
        let source = run.source(&secrets.crn, &events.guid).await?;
        if source.is_some_and(|source| names.is_marked(&source.description)) {
            found.remove(
                "registration of Secrets Manager with Event Notifications",
                secrets_manager::unregister(),
            );
        } else {
            found.keep("registration of Secrets Manager: setup did not make it");
            has_more = true;
        }
    }
    Ok(has_more)
}

/// `of`: an instance, for its account.
async fn find_authorizations(
    run: &mut Run<'_>,
    of: Option<&Instance>,
    found: &mut Found,
) -> Result<(), String> {
    let Some(crn) = of.and_then(|instance| instance.crn.parse::<Crn>().ok()) else { return Ok(()) };
    for policy in run.authorizations(&crn.account).await? {
        if let Some(id) = policy.id.as_ref().filter(|_| run.names.is_marked(&policy.description)) {
            found.remove(format!("authorization {id}"), iam::delete_policy(id));
        }
    }
    Ok(())
}
