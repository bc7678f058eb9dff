//! A file system that does not answer, as NFS does whose server is gone: FUSE whose program reads no request.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Mounted over a directory until it is dropped. Takes root.
pub struct Hanging {
    directory: PathBuf,
    /// `None` once it has failed: what waits for it then gets an error.
    device: Option<File>,
}

impl Hanging {
    pub fn over(directory: &Path) -> Self {
        let device = File::options().read(true).write(true).open("/dev/fuse").expect("/dev/fuse, as root");
        let mut mount = Command::new("mount");
        mount.args(["-i", "-t", "fuse", "-o", "fd=0,rootmode=40755,user_id=0,group_id=0", "hanging"]);
        mount.arg(directory).stdin(device.try_clone().unwrap());
        assert!(mount.status().unwrap().success(), "mounting takes root");
        Self { directory: directory.to_owned(), device: Some(device) }
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        drop(self.device.take());
        let _ = Command::new("umount").arg("-l").arg(&self.directory).status();
    }
}
