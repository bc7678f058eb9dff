//! DIR/leader: which controller leads on DIR. The lock is held for as long as it leads; the kernel frees it when
//! the program ends, however it ends. Commands do not take it: what they write is a write like any other.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;

use super::DirectoryStore;
use super::tree::Tree;
use crate::store::StoreError;
use crate::store::directory::files;

/// What came of an attempt to lead.
#[derive(Debug)]
pub enum Attempt {
    Leads(Leadership),
    /// By this process, if it has said which it is.
    LedBy(Option<u32>),
}

impl DirectoryStore {
    /// Leads on DIR, unless another controller does.
    pub async fn attempt_to_lead(&self) -> Result<Attempt, StoreError> {
        self.blocking(Leadership::attempt).await
    }
}

/// Freed when dropped.
#[derive(Debug)]
pub struct Leadership {
    _file: File,
}

impl Leadership {
    pub fn attempt(tree: &Tree) -> Result<Attempt, StoreError> {
        let path = tree.leader();
        let open = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(files::PRIVATE)
            .open(&path);
        let mut file = open.map_err(files::failed("opening", &path))?;
        match file.try_lock() {
            Ok(()) => {
                let said =
                    file.set_len(0).and_then(|()| file.write_all(std::process::id().to_string().as_bytes()));
                said.map_err(files::failed("writing", &path))?;
                Ok(Attempt::Leads(Self { _file: file }))
            }
            Err(TryLockError::WouldBlock) => {
                let mut process = String::new();
                let _ = file.take(20).read_to_string(&mut process);
                Ok(Attempt::LedBy(process.trim().parse().ok()))
            }
            Err(TryLockError::Error(error)) => Err(files::failed("locking", &path)(error)),
        }
    }
}
