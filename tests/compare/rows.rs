//! What is measured, a row each.

mod bulk;
mod first_answer;
mod grpc;
mod handshakes;
mod memory;
mod requests;
mod rotation;
mod size;
mod start;

pub use size::find;

use crate::bench::Bench;
use crate::figure::Figure;
use crate::load::Load;
use crate::peers::Started;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Row {
    /// Requests on connections that stay: CPU time, rate, latency; by bytes and by HTTP
    Requests,
    /// gRPC calls, HTTP/2 on both sides: CPU time, rate, latency; memory for each idle connection
    Grpc,
    /// Full mTLS handshakes: CPU time and rate, also with a post-quantum key exchange
    Handshakes,
    /// The first answer on a new connection: latency, to clients with TCP_NODELAY and with Nagle's algorithm
    FirstAnswer,
    /// Big bodies, both ways: CPU time and rate
    Bulk,
    /// Resident memory: at rest, for each idle connection, after they have gone
    Memory,
    /// New certificates under load: failed requests, how soon they are served, what it does to latency
    Rotation,
    /// From exec to the first handshake
    Start,
    /// Of the program, alone and with the libraries that it loads
    Size,
}

impl Row {
    pub fn measure(self, bench: &Bench) -> anyhow::Result<Vec<Figure>> {
        match self {
            Self::Requests => requests::measure(bench),
            Self::Grpc => grpc::measure(bench),
            Self::Handshakes => handshakes::measure(bench),
            Self::FirstAnswer => first_answer::measure(bench),
            Self::Bulk => bulk::measure(bench),
            Self::Memory => memory::measure(bench),
            Self::Rotation => rotation::measure(bench),
            Self::Start => start::measure(bench),
            Self::Size => size::measure(bench),
        }
    }
}

/// A terminator with clients that have their connections already.
struct Loaded {
    started: Started,
    load: Load,
}

impl Loaded {
    fn name(&self) -> &'static str {
        self.started.peer.name()
    }

    fn is_floor(&self) -> bool {
        self.started.peer.is_floor()
    }
}
