//! The metrics that the programs register. A family without a sample does not show in `/metrics`, so the list comes
//! from the registrations in the sources; types and labels are held against every `/metrics` that a scenario reads.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use super::{cell, repository};
use crate::metrics::Metrics;

const ABOUT: &str = "Metrics are at `/metrics` of the admin port: in OpenMetrics for a scraper that asks for it by `Accept`, as \
     Prometheus does, else in the text format of Prometheus. Counters end in `_total`, \
     histograms in `_bucket`, `_sum` and `_count`; times are seconds. Label values are bounded: generations are \
     `current`, `previous` and `older`, a route is the address that it listens on; pods are in the objects' status, never in labels.";

/// A family as it is registered: its name with the program's prefix, without the suffix of its type.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Metric {
    pub name: String,
    pub help: String,
}

pub fn page() -> String {
    let mut text = format!("# Metrics\n\n{ABOUT}\n");
    for (title, folder, prefix) in PROGRAMS {
        let _ = writeln!(text, "\n## {title}\n\n| metric | type | labels | meaning |\n|---|---|---|---|");
        for Metric { name, help } in registered(&repository().join(folder), prefix) {
            let (_, kind, labels) = SHAPES
                .iter()
                .find(|(of, ..)| *of == name)
                .unwrap_or_else(|| panic!("{name} has no entry in SHAPES"));
            let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
            let suffix = match *kind {
                "counter" => "_total",
                "info" => "_info",
                _ => "",
            };
            let _ = writeln!(
                text,
                "| `{name}{suffix}` | {kind} | {} | {}. |",
                labels.join(", "),
                cell(help.trim_end_matches('.'))
            );
        }
    }
    text
}

const PROGRAMS: [(&str, &str, &str); 2] =
    [("The agent", "agent/src", "hotcert_"), ("The controller", "control-plane/src", "hotcert_controller_")];

/// Type and labels of each family.
const SHAPES: &[(&str, &str, &[&str])] = &[
    ("hotcert_access_log_lines_dropped", "counter", &["reason"]),
    ("hotcert_admin_connections_refused", "counter", &["listener", "reason"]),
    ("hotcert_api_failures", "counter", &["reason"]),
    ("hotcert_api_watch", "gauge", &[]),
    ("hotcert_app_connections_open", "gauge", &[]),
    ("hotcert_app_connections_refused", "counter", &["reason"]),
    ("hotcert_app_exposed", "gauge", &[]),
    ("hotcert_build", "info", &["version"]),
    ("hotcert_bytes", "counter", &["side", "direction"]),
    ("hotcert_connections_closed", "counter", &["side", "reason"]),
    ("hotcert_connections_limit", "gauge", &[]),
    ("hotcert_connections_open", "gauge", &["side", "generation"]),
    ("hotcert_directory_hanging_seconds", "gauge", &[]),
    ("hotcert_failed_addresses", "counter", &[]),
    ("hotcert_generation", "gauge", &[]),
    ("hotcert_handshakes", "counter", &["side", "result"]),
    ("hotcert_leaf_age_seconds", "gauge", &[]),
    ("hotcert_leaf_not_after_timestamp_seconds", "gauge", &[]),
    ("hotcert_leaf_not_before_timestamp_seconds", "gauge", &[]),
    ("hotcert_memory_budget_bytes", "gauge", &[]),
    ("hotcert_memory_in_use_bytes", "gauge", &[]),
    ("hotcert_memory_waits", "counter", &[]),
    ("hotcert_peer_earliest_not_after_timestamp_seconds", "gauge", &[]),
    ("hotcert_log_lines_dropped", "counter", &["reason"]),
    ("hotcert_not_allowed", "counter", &["route"]),
    ("hotcert_proxied_requests", "counter", &["side", "code"]),
    ("hotcert_ready", "gauge", &[]),
    ("hotcert_refused_requests", "counter", &["side", "reason"]),
    ("hotcert_request_duration_seconds", "histogram", &["side", "route", "protocol"]),
    ("hotcert_reloads", "counter", &["outcome", "reason"]),
    ("hotcert_retried_requests", "counter", &["side", "reason"]),
    ("hotcert_revocation_list_usable_until_timestamp_seconds", "gauge", &["issuer"]),
    ("hotcert_root_not_after_timestamp_seconds", "gauge", &["root"]),
    ("hotcert_root_not_before_timestamp_seconds", "gauge", &["root"]),
    ("hotcert_swap_to_served_seconds", "histogram", &[]),
    ("hotcert_tasks", "gauge", &[]),
    ("hotcert_controller_actions", "counter", &["action", "outcome"]),
    ("hotcert_controller_admission_requests", "counter", &["webhook", "outcome"]),
    ("hotcert_controller_build", "info", &["version"]),
    ("hotcert_controller_certificate_earliest_not_after_timestamp_seconds", "gauge", &["authority"]),
    ("hotcert_controller_certificates", "gauge", &["authority", "ready"]),
    ("hotcert_controller_connections", "counter", &["result"]),
    ("hotcert_controller_external_sync", "counter", &["manager", "task", "outcome"]),
    ("hotcert_controller_leading", "gauge", &[]),
    ("hotcert_controller_log_lines_dropped", "counter", &["reason"]),
    ("hotcert_controller_notifications_received", "counter", &["sender", "outcome"]),
    ("hotcert_controller_notifications_sent", "counter", &["subscription", "outcome"]),
    ("hotcert_controller_notifications_config_rejected", "gauge", &[]),
    ("hotcert_controller_notifications_waiting", "gauge", &["subscription"]),
    ("hotcert_controller_orphaned_secrets", "gauge", &["namespace"]),
    ("hotcert_controller_planned_objects", "counter", &[]),
    ("hotcert_controller_planning_seconds", "counter", &[]),
    ("hotcert_controller_published_to_served_seconds", "histogram", &[]),
    ("hotcert_controller_ready", "gauge", &[]),
    ("hotcert_controller_refused", "counter", &["listener", "reason"]),
    ("hotcert_controller_rollover_phase", "gauge", &["authority", "phase"]),
    ("hotcert_controller_rollover_waiting", "gauge", &["authority"]),
    ("hotcert_controller_root_not_after_timestamp_seconds", "gauge", &["authority"]),
    ("hotcert_controller_watched_secret_not_after_timestamp_seconds", "gauge", &["namespace", "secret"]),
    ("hotcert_controller_webhook_generation", "gauge", &[]),
    ("hotcert_controller_webhook_not_after_timestamp_seconds", "gauge", &[]),
    ("hotcert_controller_webhook_phase", "gauge", &["phase"]),
    ("hotcert_controller_webhook_reloads", "counter", &["outcome", "reason"]),
];

/// Panics if a program shows a family, a type or a label that its page does not.
#[track_caller]
pub fn assert_documented(metrics: &Metrics) {
    for (family, kind) in &metrics.kinds {
        let shape = SHAPES.iter().find(|(name, ..)| name == family);
        let (_, documented, labels) = shape.unwrap_or_else(|| panic!("{family} has no entry in SHAPES"));
        assert_eq!(kind, documented, "{family}");
        let labels: BTreeSet<&str> = labels.iter().copied().collect();
        for shown in metrics.label_names(family) {
            assert_eq!(shown, labels, "labels of {family}");
        }
    }
}

/// All families that the sources below `folder` register.
pub fn registered(folder: &Path, prefix: &str) -> Vec<Metric> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("the sources can be listed") {
            let path = entry.expect("the sources can be listed").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let source = std::fs::read_to_string(path).expect("a source can be read");
                found.extend(registrations(&source, prefix));
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

/// A name and its help side by side, `"name", "Help"`, in a source that has to do with a registry.
fn registrations(source: &str, prefix: &str) -> Vec<Metric> {
    if !source.contains("Registry") {
        return Vec::new();
    }
    let is_name = |text: &str| !text.is_empty() && text.chars().all(|c| c == '_' || c.is_ascii_lowercase());
    let literals = source.match_indices('"').filter_map(|(at, _)| literal(&source[at..]));
    literals
        .filter_map(|(name, rest)| {
            let (help, _) = literal(rest.strip_prefix(',')?.trim_start())?;
            let starts_as_help = help.starts_with(|c: char| c.is_ascii_uppercase() || c.is_ascii_digit());
            (is_name(&name) && starts_as_help).then(|| Metric { name: format!("{prefix}{name}"), help })
        })
        .collect()
}

fn literal(text: &str) -> Option<(String, &str)> {
    let (inside, rest) = text.strip_prefix('"')?.split_once('"')?;
    Some((inside.replace("\\\n", " ").split_whitespace().collect::<Vec<_>>().join(" "), rest))
}
