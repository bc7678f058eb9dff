//! What a person sees while it runs: each step as it is begun and done, and which one failed.

use std::fmt::Display;
use std::time::Duration;

use hotcert_log::outln;

use crate::api::duration;
use crate::external::ibm::IbmError;

pub struct Progress {
    total: usize,
    step: usize,
    title: String,
    changes: usize,
    differences: usize,
    /// Requests are printed instead of what they did.
    is_dry: bool,
}

impl Progress {
    pub fn new(total: usize, is_dry: bool) -> Self {
        Self { total, step: 0, title: String::new(), changes: 0, differences: 0, is_dry }
    }

    /// Of one step that is not spoken of unless it fails.
    pub fn quiet(title: &str) -> Self {
        Self { step: 1, title: title.to_owned(), ..Self::new(1, true) }
    }

    pub fn begin(&mut self, title: impl Into<String>) {
        self.step += 1;
        self.title = title.into();
        if self.is_dry {
            outln!("# {}/{} {}", self.step, self.total, self.title);
        }
    }

    pub fn made(&mut self, what: impl Display) {
        self.changes += 1;
        self.say(format_args!("made: {what}"));
    }

    pub fn removed(&mut self) {
        self.changes += 1;
        self.say("removed");
    }

    pub fn kept(&self, what: impl Display) {
        self.say(format_args!("kept: {what}"));
    }

    pub fn done(&self, what: impl Display) {
        self.say(format_args!("{what}"));
    }

    /// It exists otherwise than it would be made, and stays so.
    pub fn differs(&mut self, what: impl Display) {
        self.differences += 1;
        self.say(format_args!("differs: {what}"));
    }

    pub fn waits(&self, what: impl Display, since: Duration) {
        self.say(format_args!("{what}, {}", duration::format(Duration::from_secs(since.as_secs()))));
    }

    fn say(&self, what: impl Display) {
        if !self.is_dry {
            outln!("[{}/{}] {}: {what}", self.step, self.total, self.title);
        }
    }

    pub fn changes(&self) -> usize {
        self.changes
    }

    pub fn differences(&self) -> usize {
        self.differences
    }

    /// An error of this step. `advice`: what to do about it.
    pub fn failed(&self, cause: impl Display, advice: &str) -> String {
        format!(
            "step {} of {}, {}, failed: {cause}\n{advice}; then run the same command again: what is done is kept, and it \
             continues here",
            self.step, self.total, self.title
        )
    }

    /// An error that an API answered. `permission`: what the API key has to be allowed.
    pub fn refused(&self, error: &IbmError, permission: &str) -> String {
        let advice = match error.status().map(|status| status.as_u16()) {
            Some(401) => "check the API key".to_owned(),
            Some(403) => format!("give the owner of the API key {permission}"),
            Some(400) if self.title.contains("token") => "check the API key".to_owned(),
            Some(400 | 409 | 422) => "correct what is reported, or remove what is in the way".to_owned(),
            Some(429 | 500..) => "wait a minute".to_owned(),
            Some(404) => {
                format!("check the region and the names, and that the owner of the API key has {permission}")
            }
            _ => "check the network and the addresses".to_owned(),
        };
        self.failed(error, &advice)
    }
}
