//! A wall clock that a test sets, for one program: libfaketime, of Debian's package `faketime`. The monotonic clocks go on.

use std::fs;
use std::path::PathBuf;

use crate::agent::Launch;
use crate::pki::{Pki, write};

pub struct Clock {
    offset: PathBuf,
}

impl Clock {
    /// A clock that is right.
    pub fn new(pki: &Pki) -> Self {
        let clock = Self { offset: pki.path("offset") };
        clock.set("+0");
        clock
    }

    /// Sets it off by so much, such as `-3d` or `+2h`; `+0` sets it right.
    pub fn set(&self, offset: &str) {
        // Whole, by rename: the program reads it each time that it asks for the time.
        let next = write(&self.offset.with_extension("next"), offset);
        fs::rename(next, &self.offset).unwrap();
    }

    /// Has the program go by this clock.
    pub fn of(&self, launch: Launch) -> Launch {
        launch
            .env("LD_PRELOAD", library())
            .env("FAKETIME_TIMESTAMP_FILE", &self.offset)
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
    }
}

fn library() -> PathBuf {
    let folders = fs::read_dir("/usr/lib").unwrap().flatten().map(|entry| entry.path());
    let mut libraries = folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1"));
    libraries.find(|path| path.exists()).expect("libfaketime is there: apt-get install faketime")
}
