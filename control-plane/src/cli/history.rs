//! `hotcert history`: the stored versions of a certificate, or the past rollovers of an authority.

use std::time::SystemTime;

use clap::Args;
use hotcert_log::outln;
use serde_json::json;

use super::table::{Table, parse_time, rounded_span};
use crate::api::object_name::ObjectName;
use crate::api::request::{RequestOutcome, reason_text};
use crate::cli::arguments::{object_ref, short_root};
use crate::cli::backend::{Backend, VersionRow};
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
    let present = Present {
        newest: versions.last().cloned(),
        signing: signing_root(session, &certificate.spec.authority).await,
        now: SystemTime::now(),
    };
    if session.json {
        let versions: Vec<_> = versions
            .iter()
            .map(|version| {
                let mut row = json!(version);
                row["rollbackRefused"] = json!(present.refusal(version));
                row
            })
            .collect();
        outln!(
            "{:#}",
            json!({"certificate": name.to_string(), "published": published, "versions": versions})
        );
        return Ok(());
    }
    let now = present.now;
    let mut table = Table::new(&["VERSION", "SERIAL", "ROOT", "CREATED", "EXPIRES IN", "ROLLBACK", "NOTE"]);
    for version in versions {
        let rollback = present.refusal(&version).map_or_else(|| "yes".into(), |why| format!("no: {why}"));
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
            rollback,
            notes.join(", "),
        ]);
    }
    outln!("{table}");
    Ok(())
}

/// What a rollback would be judged by.
struct Present {
    newest: Option<VersionRow>,
    /// The root that signs, where it is known.
    signing: Option<String>,
    now: SystemTime,
}

impl Present {
    /// Why the version cannot be rolled back to, as far as it can be told from here.
    fn refusal(&self, version: &VersionRow) -> Option<&'static str> {
        let newest = self.newest.as_ref()?;
        let end = parse_time(Some(&version.not_after));
        if version.serial == newest.serial {
            Some("the newest")
        } else if !version.has_key {
            Some("its key was removed")
        } else if end.is_none_or(|end| end <= self.now) {
            Some("expired")
        } else if self.signing.as_ref().is_some_and(|signing| *signing != version.root) {
            Some("another root signs")
        } else if version.made_for != newest.made_for {
            Some("made for another spec")
        } else {
            None
        }
    }
}

/// Whoever may not read authorities is told of a rollback that is refused when asking for it.
async fn signing_root<B: Backend>(session: &Session<B>, authority: &str) -> Option<String> {
    if authority.is_empty() {
        return None;
    }
    let authority = session.backend.authority(authority).await.ok()?;
    Some(authority.status?.root?.sha256)
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use super::*;
    use crate::api::date;

    #[test]
    fn each_version_says_whether_it_can_be_rolled_back_to() {
        let now = SystemTime::now();
        let version = |version: u64| VersionRow {
            version,
            serial: version.to_string(),
            root: "root".into(),
            created_at: date::seconds(now),
            not_after: date::seconds(now + Duration::from_secs(60)),
            copy_of: None,
            request: None,
            has_key: true,
            made_for: "spec".into(),
        };
        let present = Present { newest: Some(version(9)), signing: Some("root".into()), now };
        for (row, expected) in [
            (version(1), None),
            (version(9), Some("the newest")),
            (VersionRow { serial: "9".into(), ..version(8) }, Some("the newest")),
            (VersionRow { has_key: false, ..version(2) }, Some("its key was removed")),
            (VersionRow { not_after: date::seconds(now), ..version(3) }, Some("expired")),
            (VersionRow { root: "old".into(), ..version(4) }, Some("another root signs")),
            (VersionRow { made_for: "else".into(), ..version(5) }, Some("made for another spec")),
        ] {
            assert_eq!(present.refusal(&row), expected, "{row:?}");
        }
        assert_eq!(
            Present { signing: None, ..present }.refusal(&VersionRow { root: "old".into(), ..version(4) }),
            None
        );
    }
}
