//! Hints that the directory may have changed. An event means "look again" and nothing else; the
//! poll of `reload` is the floor under events that are lost or never come.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use notify::event::{EventKind, ModifyKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

/// A watch on one directory that survives the directory's absence and replacement.
pub struct Watch {
    directory: PathBuf,
    hint: Arc<Notify>,
    armed: Option<Armed>,
}

struct Armed {
    /// Held for its effect: dropping it ends the watch.
    _watcher: RecommendedWatcher,
    directory: (u64, u64),
    /// Set when the directory itself went away: a new one may come back under the same inode.
    gone: Arc<AtomicBool>,
}

impl Watch {
    pub fn new(directory: impl Into<PathBuf>, hint: Arc<Notify>) -> Self {
        // Events name absolute paths.
        let directory = directory.into();
        let directory = std::path::absolute(&directory).unwrap_or(directory);
        Self { directory, hint, armed: None }
    }

    /// Arms the watch if it is not on the directory that is there now. Returns whether events are
    /// to be expected. Called before every look, so that nothing falls between the two.
    pub fn arm(&mut self) -> Result<bool, notify::Error> {
        let Some(there) = inode(&self.directory) else {
            self.armed = None;
            return Ok(false);
        };
        if self.armed.as_ref().is_some_and(|armed| armed.directory == there && !armed.gone.load(Relaxed)) {
            return Ok(true);
        }
        self.armed = None;
        let hint = Arc::clone(&self.hint);
        let gone = Arc::new(AtomicBool::new(false));
        let (tell_gone, watched) = (Arc::clone(&gone), self.directory.clone());
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Our own reading shows up as access; everything else, errors and overflow included,
            // is a reason to look.
            if let Ok(event) = &event {
                if matches!(event.kind, EventKind::Access(_)) || is_of_a_writer_only(event) {
                    return;
                }
                let ends =
                    matches!(event.kind, EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)));
                if ends && event.paths.contains(&watched) {
                    tell_gone.store(true, Relaxed);
                }
            }
            hint.notify_one();
        })?;
        watcher.watch(&self.directory, RecursiveMode::NonRecursive)?;
        self.armed = Some(Armed { _watcher: watcher, directory: there, gone });
        Ok(true)
    }
}

/// What a writer has beside the names that are read: the directory of the next version, the link before it is
/// renamed. All that they become is seen by the rename to `..data`.
fn is_of_a_writer_only(event: &notify::Event) -> bool {
    let hidden = |path: &PathBuf| {
        let name = path.file_name().map(OsStrExt::as_bytes).unwrap_or_default();
        name.starts_with(b"..") && name != b"..data"
    };
    !event.paths.is_empty() && event.paths.iter().all(hidden)
}

fn inode(directory: &Path) -> Option<(u64, u64)> {
    let meta = std::fs::metadata(directory).ok()?;
    meta.is_dir().then(|| (meta.dev(), meta.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_writer_prepares_is_no_reason_to_look() {
        let event = |names: &[&str]| {
            let paths = names.iter().map(|name| PathBuf::from("/etc/tls").join(name)).collect();
            notify::Event { paths, ..notify::Event::new(EventKind::Any) }
        };
        for prepared in [&["..2026_11_23_10_00_00.1"][..], &["..data_tmp"]] {
            assert!(is_of_a_writer_only(&event(prepared)), "{prepared:?}");
        }
        // The last is an overflow, which names nothing.
        for seen in [&["..data"][..], &["..data_tmp", "..data"], &["tls.crt"], &[""], &[]] {
            assert!(!is_of_a_writer_only(&event(seen)), "{seen:?}");
        }
    }
}
