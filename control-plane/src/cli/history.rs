//! `hotcert history`: the stored versions of a certificate, or the past rollovers of an authority.

use std::time::SystemTime;

use clap::Args;
use hotcert_log::outln;
use serde_json::json;

use super::table::{Table, parse_time, rounded_span};
use crate::api::object_name::ObjectName;
use crate::api::request::{RequestOutcome, reason_text};
use crate::cli::arguments::{object_ref, short_root};
use crate::cli::backend::Backend;
use crate::cli::session::{CommandError, Session};
use crate::store::ObjectRef;

#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// NAMESPACE/NAME of a certificate, such as shop/mtls-prod-payments, or NAME of an authority, such as
    /// root-prod-shop
    #[arg(value_parser = object_ref)]
    name: ObjectRef,
}

pub(super) async fn run<B: Backend>(
    session: &mut Session<B>,
    args: &HistoryArgs,
) -> Result<(), CommandError> {
    match &args.name {
        ObjectRef::Certificate(certificate) => versions(session, certificate).await,
        ObjectRef::Authority(authority) => rollovers(session, authority).await,
    }
}

async fn versions<B: Backend>(session: &Session<B>, name: &ObjectName) -> Result<(), CommandError> {
    let certificate = session.backend.certificate(name).await?;
    let published = certificate.status.and_then(|status| status.version);
    let versions = session.backend.versions(name).await?;
    if session.json {
        outln!(
            "{:#}",
            json!({"certificate": name.to_string(), "published": published, "versions": versions})
        );
        return Ok(());
    }
    let now = SystemTime::now();
    let mut table = Table::new(&["VERSION", "SERIAL", "ROOT", "CREATED", "EXPIRES IN", "NOTE"]);
    for version in versions {
        let mut notes = Vec::new();
        if i64::try_from(version.version).ok() == published {
            notes.push("published".to_owned());
        }
        if let Some(of) = version.copy_of {
            notes.push(format!("rolled back to {of}"));
        }
        table.row(vec![
            version.version.to_string(),
            version.serial.get(..12).unwrap_or(&version.serial).to_owned(),
            short_root(&version.root).to_owned(),
            version.created_at,
            parse_time(Some(&version.not_after)).map_or_else(|| "-".into(), |end| rounded_span(now, end)),
            notes.join(", "),
        ]);
    }
    outln!("{table}");
    Ok(())
}

async fn rollovers<B: Backend>(session: &Session<B>, name: &str) -> Result<(), CommandError> {
    let authority = session.backend.authority(name).await?;
    let status = authority.status.unwrap_or_default();
    if session.json {
        outln!(
            "{:#}",
            json!({"authority": name, "rollovers": status.rollover_history, "handledRequests": status.handled_requests})
        );
        return Ok(());
    }
    let mut table = Table::new(&["STARTED", "ENDED", "FROM ROOT", "TO ROOT", "WHY"]);
    let short = |root: &str| short_root(root).to_owned();
    let why = |reason: &str, forced: bool, overrides: &[String]| {
        let forced = if forced { "; forced, without waiting for pods" } else { "" };
        let overrides = overrides.iter().map(|pod| format!("; without {pod}"));
        reason_text(reason) + forced + &overrides.collect::<String>()
    };
    let mut rollovers: Vec<_> = status.rollover_history.iter().collect();
    rollovers.sort_by_key(|past| parse_time(Some(&past.started_at)));
    for past in rollovers {
        table.row(vec![
            past.started_at.clone(),
            past.ended_at.clone(),
            short(&past.from),
            short(&past.to),
            why(&past.reason, past.forced, &past.overrides),
        ]);
    }
    if let Some(current) = &status.rollover {
        table.row(vec![
            current.started_at.clone(),
            "in progress".into(),
            short(&current.from),
            short(&current.to),
            why(&current.reason, false, &current.overrides),
        ]);
    }
    if table.is_empty() {
        outln!("no completed rollovers of {name}");
    } else {
        outln!("{table}");
    }
    let mut handled: Vec<_> = status.handled_requests.iter().collect();
    handled.sort_by_key(|(_, request)| parse_time(Some(&request.handled_at)));
    let mut requests = Table::new(&["HANDLED", "REQUEST", "OUTCOME"]);
    for (verb, request) in handled {
        requests.row(vec![
            request.handled_at.clone(),
            verb.clone(),
            RequestOutcome::parse(&request.outcome).text(),
        ]);
    }
    if !requests.is_empty() {
        outln!("\n{requests}");
    }
    Ok(())
}
