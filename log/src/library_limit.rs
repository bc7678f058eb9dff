//! The limit of what libraries log. A peer can have some of them warn thousands of times in a moment; each of their
//! messages is logged once in a while, and how many more there were is said in one line.
//!
//! Messages of ours are limited where they are logged, by what they are about. A target that `HOTCERT_LOG` names has
//! what was asked for, and so have messages below the level of information, which nobody sees without asking.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_log::NormalizeEvent as _;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use crate::limiter::LogLimiter;
use crate::line::line;
use crate::{Log, LogFormat, filter};

/// From the first message that is suppressed to the line that says how many were.
const REPORT_AFTER: Duration = Duration::from_secs(30);
/// Targets that are named in that line; others are counted only.
const MAX_TARGETS: usize = 16;

pub struct LibraryLimit {
    limiter: LogLimiter,
    named_targets: Vec<String>,
    suppressed: Mutex<Suppressed>,
}

/// Since the last report.
#[derive(Default)]
struct Suppressed {
    lines: u64,
    by_target: BTreeMap<String, u64>,
}

impl LibraryLimit {
    pub fn new(named_targets: Vec<String>) -> Self {
        Self { limiter: LogLimiter::default(), named_targets, suppressed: Mutex::default() }
    }

    fn allows(&self, metadata: &Metadata<'_>) -> bool {
        let target = metadata.target();
        let is_ours = target.starts_with(filter::PROGRAM);
        let is_asked_for = *metadata.level() > Level::INFO
            || self.named_targets.iter().any(|named| target.starts_with(named.as_str()));
        // The line tells one message of a module from another.
        is_ours || is_asked_for || self.limiter.allow(&(target, metadata.line())).is_some()
    }

    /// Counts a message that is not logged. Returns whether it is the first since the last report.
    fn suppress(&self, target: &str) -> bool {
        let mut suppressed = self.suppressed();
        suppressed.lines += 1;
        if let Some(count) = suppressed.by_target.get_mut(target) {
            *count += 1;
        } else if suppressed.by_target.len() < MAX_TARGETS {
            suppressed.by_target.insert(target.to_owned(), 1);
        }
        suppressed.lines == 1
    }

    /// How many were suppressed since the last report, if any were.
    pub fn report(&self, format: LogFormat) -> Option<String> {
        let Suppressed { lines, by_target } = std::mem::take(&mut *self.suppressed());
        let by_target: Vec<_> =
            by_target.iter().map(|(target, count)| format!("{target}: {count}")).collect();
        let fields = [("lines", Value::from(lines)), ("by_target", by_target.join(", ").into())];
        let message = "repeated messages of libraries were suppressed";
        (lines > 0).then(|| line(format, Level::WARN, message, &fields))
    }

    fn suppressed(&self) -> MutexGuard<'_, Suppressed> {
        self.suppressed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The limit as a part of the subscriber. It sees what the filter has let through.
pub struct Limit(pub &'static Log);

impl<S: Subscriber> Layer<S> for Limit {
    fn event_enabled(&self, event: &Event<'_>, _context: Context<'_, S>) -> bool {
        // Messages through the `log` crate have one target, and their own in a field.
        let normalized = event.normalized_metadata();
        let metadata = normalized.as_ref().unwrap_or_else(|| event.metadata());
        let is_allowed = self.0.libraries.allows(metadata);
        if !is_allowed && self.0.libraries.suppress(metadata.target()) {
            self.0.queue.report_at(Instant::now() + REPORT_AFTER);
        }
        is_allowed
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[derive(Clone)]
    struct Counting(Arc<LibraryLimit>, Arc<Mutex<(u64, u64)>>);

    impl<S: Subscriber> Layer<S> for Counting {
        fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
            let mut counts = self.1.lock().unwrap();
            if self.0.allows(event.metadata()) {
                counts.0 += 1;
            } else {
                let is_first = self.0.suppress(event.metadata().target());
                assert_eq!(is_first, counts.1 == 0);
                counts.1 += 1;
            }
        }
    }

    /// How many of these messages are logged, how many suppressed, and the report.
    fn logged(named: &[&str], messages: impl Fn()) -> (u64, u64, Option<Value>) {
        let limit = Arc::new(LibraryLimit::new(named.iter().map(ToString::to_string).collect()));
        let counting = Counting(Arc::clone(&limit), Arc::default());
        let counts = Arc::clone(&counting.1);
        let subscriber = tracing_subscriber::registry().with(counting);
        tracing::subscriber::with_default(subscriber, messages);
        let (allowed, suppressed) = *counts.lock().unwrap();
        let report = limit.report(LogFormat::Json).map(|line| serde_json::from_str(&line).unwrap());
        assert!(limit.report(LogFormat::Json).is_none(), "reported once");
        (allowed, suppressed, report)
    }

    fn messages() {
        for _ in 0..10 {
            tracing::warn!(target: "h2::codec", "one");
            tracing::warn!(target: "h2::codec", "other");
            tracing::error!(target: "rustls", "it");
        }
    }

    #[test]
    fn each_message_of_a_library_is_logged_once_and_the_others_counted() {
        let (allowed, suppressed, report) = logged(&[], messages);
        assert_eq!((allowed, suppressed), (3, 27));
        let report = report.unwrap();
        assert_eq!(
            (&report["lines"], &report["by_target"]),
            (&27.into(), &"h2::codec: 18, rustls: 9".into())
        );
    }

    #[test]
    fn ours_and_what_was_asked_for_are_not_limited() {
        assert_eq!(logged(&["h2"], messages).0, 20 + 1);
        let (allowed, suppressed, report) = logged(&[], || {
            for _ in 0..10 {
                tracing::warn!(target: "hotcert_agent::proxy", "ours");
                tracing::debug!(target: "hyper", "seen by those only who ask for it");
            }
        });
        assert_eq!((allowed, suppressed, report), (20, 0, None));
    }
}
