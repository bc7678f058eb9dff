//! Whether DIR has changed since it was observed. What counts is a digest over what the file system says
//! of every file; events only say when to take it again, and a poll takes it where they do not come.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

use super::tree::Tree;
use crate::digest::sha256_hex;
use crate::store::directory::files;

const POLL: Duration = Duration::from_secs(1);
/// `state/versions/NAMESPACE/NAME/N/tls.crt`
const DEPTH: usize = 6;

#[derive(Debug)]
pub struct Changes {
    /// Before the last observation.
    seen: Mutex<Option<String>>,
    hint: Arc<Notify>,
    /// Held for its effect. `None` where there are no events to be had.
    _watcher: Option<RecommendedWatcher>,
}

impl Changes {
    pub fn of(tree: &Tree) -> Self {
        let hint = Arc::new(Notify::new());
        Self { seen: Mutex::new(None), _watcher: watch(tree.root(), Arc::clone(&hint)), hint }
    }

    /// Called before an observation, so that nothing falls between the two.
    pub fn looking(&self, tree: &Tree) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(digest(tree));
    }

    pub fn since_observation(&self, tree: &Tree) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        seen.is_none_or(|seen| seen != digest(tree))
    }

    /// An event, or the time for a poll.
    pub async fn hinted(&self) {
        let _ = tokio::time::timeout(POLL, self.hint.notified()).await;
    }
}

fn watch(root: &Path, hint: Arc<Notify>) -> Option<RecommendedWatcher> {
    let tell = move |event: notify::Result<notify::Event>| {
        // Reading is an event too.
        if !event.is_ok_and(|event| matches!(event.kind, EventKind::Access(_))) {
            hint.notify_one();
        }
    };
    let watcher = notify::recommended_watcher(tell).and_then(|mut watcher| {
        watcher.watch(root, RecursiveMode::Recursive)?;
        Ok(watcher)
    });
    watcher
        .inspect_err(|error| {
            tracing::warn!(%error, directory = %root.display(), "no file events: changes are polled for");
        })
        .ok()
}

fn digest(tree: &Tree) -> String {
    let mut text = String::new();
    walk(tree.root(), DEPTH, &mut text);
    sha256_hex(text.as_bytes())
}

fn walk(directory: &Path, depth: usize, text: &mut String) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let _ = write!(text, "{}:{}", path.display(), files::mark(&path));
        if depth > 1 && std::fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_dir()) {
            walk(&path, depth - 1, text);
        }
    }
}
