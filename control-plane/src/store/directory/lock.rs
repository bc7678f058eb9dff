//! DIR/lock: one writer at a time, and no reader during a write, across programs.
//! The kernel frees it when a program ends, so none is ever left behind.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::thread;
use std::time::{Duration, Instant};

use super::tree::Tree;
use crate::store::StoreError;
use crate::store::directory::files;

/// Writings take milliseconds: who holds it longer is stopped, or sits on a disk that does not answer.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(2);

#[derive(Clone, Copy, Debug)]
pub enum LockMode {
    Shared,
    Exclusive,
}

/// Freed when dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Blocks for up to ten seconds.
    pub fn take(tree: &Tree, hold: LockMode) -> Result<Self, StoreError> {
        let path = tree.lock();
        let open = OpenOptions::new().read(true).append(true).create(true).mode(files::PRIVATE).open(&path);
        let file = open.map_err(files::failed("opening", &path))?;
        let end = Instant::now() + PATIENCE;
        loop {
            let taken = match hold {
                LockMode::Shared => file.try_lock_shared(),
                LockMode::Exclusive => file.try_lock(),
            };
            match taken {
                Ok(()) => return Ok(Self { _file: file }),
                Err(TryLockError::Error(error)) => return Err(files::failed("locking", &path)(error)),
                Err(TryLockError::WouldBlock) if Instant::now() >= end => {
                    return Err(StoreError::Failed {
                        what: format!("locking {}", path.display()),
                        cause: format!(
                            "another program has held it for {}: find it with `lslocks` or `fuser` and end it",
                            crate::api::duration::format(PATIENCE)
                        ),
                    });
                }
                Err(TryLockError::WouldBlock) => thread::sleep(PAUSE),
            }
        }
    }
}
