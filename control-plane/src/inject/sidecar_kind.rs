//! How the agent runs in a pod: chosen by the controller or the command line, overridden by an annotation.

use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum SidecarKind {
    /// First init container with `restartPolicy: Always`: starts before the app, stops after it
    Native,
    /// First of the containers, for Kubernetes before 1.29, which would wait for such an init container to complete
    Container,
}

impl fmt::Display for SidecarKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Container => "container",
        })
    }
}
