//! Where the access log goes.

use std::fmt;
use std::io;

use clap::ValueEnum;
use hotcert_log::LineOutput;

use crate::proxy::access_log::AccessLog;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum AccessLogTarget {
    /// Nowhere
    #[default]
    Off,
    /// Standard output
    Stdout,
}

impl fmt::Display for AccessLogTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::Stdout => "stdout",
        })
    }
}

#[derive(Clone, Copy, Debug, Default)]
pub struct AccessLogSettings {
    pub target: AccessLogTarget,
    /// Whether paths are shown with their queries.
    pub queries: bool,
}

impl AccessLogSettings {
    /// Starts what writes it.
    pub fn start(self) -> io::Result<Option<AccessLog>> {
        match self.target {
            AccessLogTarget::Off => Ok(None),
            AccessLogTarget::Stdout => {
                Ok(Some(AccessLog { output: LineOutput::start()?, queries: self.queries }))
            }
        }
    }
}
