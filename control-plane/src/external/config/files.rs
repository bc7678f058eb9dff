//! Reads the settings file and the files it names, as they are mounted from a Secret or lie in a directory. The
//! digests of what was read tell whether anything changed since.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::digest::sha256_hex;

/// Upper bound of each file, in bytes.
const MAX_FILE: u64 = 1 << 20;

pub struct ConfigFiles {
    directory: PathBuf,
    /// Name and digest of each file that was read, in order.
    digests: Vec<(String, String)>,
}

impl ConfigFiles {
    /// `directory`: of the settings file; all names are relative to it.
    pub fn new(directory: PathBuf) -> Self {
        Self { directory, digests: Vec::new() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The error does not name the file.
    pub fn read(&mut self, name: &str) -> Result<Zeroizing<Vec<u8>>, String> {
        let bytes = read(&self.path(name))?;
        self.digests.push((name.to_owned(), sha256_hex(&bytes)));
        Ok(bytes)
    }

    /// Name and digest of each file that was read, in order.
    pub fn digests(&self) -> &[(String, String)] {
        &self.digests
    }
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let too_large = || format!("larger than {MAX_FILE} bytes");
    let unreadable = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".into(),
        _ => error.to_string(),
    };
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err("not a regular file".into());
    }
    if metadata.len() > MAX_FILE {
        return Err(too_large());
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(metadata.len() as usize + 1));
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(too_large());
    }
    Ok(bytes)
}
