//! Follows the changes of one thread, and says what a crash of the machine could undo at each of them.
//! It knows what was flushed, not what a disk does with it.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

pub enum Change<'p> {
    Create(&'p Path),
    FlushFile(&'p Path),
    FlushDirectory(&'p Path),
    Replace(&'p Path, &'p Path),
    Remove(&'p Path),
}

#[derive(Default)]
struct Trace {
    /// Files whose contents are not on the disk.
    contents: BTreeSet<PathBuf>,
    /// Names that are not in their directory on the disk.
    names: BTreeSet<PathBuf>,
    changes: usize,
    faults: Vec<String>,
}

thread_local! {
    static TRACE: RefCell<Option<Trace>> = const { RefCell::new(None) };
}

/// What was relied on before it was on the disk, and how many changes there were.
pub fn faults(work: impl FnOnce()) -> (Vec<String>, usize) {
    TRACE.set(Some(Trace::default()));
    work();
    let mut trace = TRACE.take().unwrap_or_default();
    trace.require_flushed("the end", None);
    (trace.faults, trace.changes)
}

pub fn record(change: Change<'_>) {
    TRACE.with_borrow_mut(|trace| {
        if let Some(trace) = trace {
            trace.record(change);
        }
    });
}

impl Trace {
    fn record(&mut self, change: Change<'_>) {
        self.changes += 1;
        match change {
            Change::Create(path) => {
                if path.is_file() && !path.is_symlink() {
                    self.contents.insert(path.to_owned());
                }
                self.names.insert(path.to_owned());
            }
            Change::FlushFile(path) => drop(self.contents.remove(path)),
            Change::FlushDirectory(path) => self.names.retain(|name| name.parent() != Some(path)),
            Change::Replace(from, to) => {
                // Its own temporary name need not last.
                self.require_flushed(&format!("the rename to {}", to.display()), Some(from));
                self.names.remove(from);
                self.names.insert(to.to_owned());
            }
            Change::Remove(path) => {
                // What comes in its place has to last by then.
                self.require_flushed(&format!("the removal of {}", path.display()), None);
            }
        }
    }

    fn require_flushed(&mut self, before: &str, but: Option<&Path>) {
        let names = self.names.iter().filter(|name| Some(name.as_path()) != but);
        for path in self.contents.iter().chain(names) {
            self.faults.push(format!("{} is not on the disk at {before}", path.display()));
        }
    }
}
