//! Events from the identity directory. An event means "read again" and nothing else; the poll of the
//! reload loop covers events that are lost or never come.

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
pub struct DirectoryWatch {
    directory: PathBuf,
    changed: Arc<Notify>,
    armed: Option<Armed>,
}

struct Armed {
    /// Held for its effect: dropping it ends the watch.
    _watcher: RecommendedWatcher,
    /// Device and inode of the watched directory.
    inode: (u64, u64),
    /// Set when the directory itself was removed: a new one may reuse its inode.
    gone: Arc<AtomicBool>,
}

impl DirectoryWatch {
    pub fn new(directory: impl Into<PathBuf>, changed: Arc<Notify>) -> Self {
        // Events name absolute paths.
        let directory = directory.into();
        let directory = std::path::absolute(&directory).unwrap_or(directory);
        Self { directory, changed, armed: None }
    }

    /// Watches the directory that exists now, if it is not watched already. Returns whether events are
    /// expected. Called before every read, so that no change falls between the two.
    pub fn arm(&mut self) -> Result<bool, notify::Error> {
        let Some(inode) = inode(&self.directory) else {
            self.armed = None;
            return Ok(false);
        };
        if self.armed.as_ref().is_some_and(|armed| armed.inode == inode && !armed.gone.load(Relaxed)) {
            return Ok(true);
        }
        self.armed = None;
        let changed = Arc::clone(&self.changed);
        let gone = Arc::new(AtomicBool::new(false));
        let (set_gone, watched) = (Arc::clone(&gone), self.directory.clone());
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Our own reads are reported as access; everything else, errors and overflow included, may be
            // a change.
            if let Ok(event) = &event {
                if matches!(event.kind, EventKind::Access(_)) || is_preparation(event) {
                    return;
                }
                let removed =
                    matches!(event.kind, EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)));
                if removed && event.paths.contains(&watched) {
                    set_gone.store(true, Relaxed);
                }
            }
            changed.notify_one();
        })?;
        watcher.watch(&self.directory, RecursiveMode::NonRecursive)?;
        self.armed = Some(Armed { _watcher: watcher, inode, gone });
        Ok(true)
    }
}

/// Whether it is about files that a writer prepares only: the directory of the next version, the link before
/// it is renamed. They take effect with the rename to `..data`, which is an event of its own.
fn is_preparation(event: &notify::Event) -> bool {
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
    fn files_that_a_writer_prepares_are_ignored() {
        let event = |names: &[&str]| {
            let paths = names.iter().map(|name| PathBuf::from("/etc/tls").join(name)).collect();
            notify::Event { paths, ..notify::Event::new(EventKind::Any) }
        };
        for prepared in [&["..2026_11_23_10_00_00.1"][..], &["..data_tmp"]] {
            assert!(is_preparation(&event(prepared)), "{prepared:?}");
        }
        // The last is an overflow, which names nothing.
        for seen in [&["..data"][..], &["..data_tmp", "..data"], &["tls.crt"], &[""], &[]] {
            assert!(!is_preparation(&event(seen)), "{seen:?}");
        }
    }
}
