//! What every row works with: the peers it was asked for, the service behind them, and how much to measure.

use std::cell::Cell;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use kit::dialer::{Dialer, Group};
use kit::pki::{Pair, Pki};

use crate::figure::Figure;
use crate::peers::{Mode, Peer, Programs, Site, Started};
use crate::process::Cores;

pub struct Bench {
    pub programs: Programs,
    pub peers: Vec<&'static dyn Peer>,
    pub cores: Option<Cores>,
    pub pki: Pki,
    pub client: Pair,
    /// The plain service.
    pub app: SocketAddr,
    /// The one that answers gRPC calls.
    pub grpc_app: SocketAddr,
    pub amount: Amount,
    /// Where peers have their files.
    pub directory: PathBuf,
    pub sites: Cell<usize>,
}

/// How much of everything.
#[derive(Clone, Copy, Debug)]
pub struct Amount {
    /// Each measures every peer once, one after the other.
    pub rounds: usize,
    /// Of one measurement.
    pub time: Duration,
    /// Rounds of so many swaps.
    pub rotations: usize,
    pub swaps: usize,
    pub starts: usize,
    /// Idle connections, few and many.
    pub idle: [usize; 2],
    /// Memory that has not changed for so long will not.
    pub settled: Duration,
}

impl Amount {
    pub const FULL: Self = Self {
        rounds: 5,
        time: Duration::from_secs(2),
        rotations: 5,
        swaps: 20,
        starts: 11,
        idle: [2_000, 8_000],
        settled: Duration::from_secs(1),
    };
    /// Enough to see that it works.
    pub const SMOKE: Self = Self {
        rounds: 1,
        time: Duration::from_millis(200),
        rotations: 1,
        swaps: 2,
        starts: 2,
        idle: [50, 200],
        settled: Duration::from_millis(100),
    };
}

/// Measures all in turn, in every round, beginning with another one each time. `measure` adds to `figures`; who
/// fails is left out with the reason.
pub fn rounds<T>(
    rounds: usize,
    started: &mut [T],
    name: impl Fn(&T) -> &'static str,
    figures: &mut [Figure],
    mut measure: impl FnMut(&mut T, &mut [Figure]) -> anyhow::Result<()>,
) {
    let mut failed = vec![false; started.len()];
    for round in 0..rounds {
        for turn in 0..started.len() {
            let at = (turn + round) % started.len();
            if failed[at] {
                continue;
            }
            let name = name(&started[at]);
            if let Err(error) = measure(&mut started[at], figures) {
                failed[at] = true;
                eprintln!("    {name}: {error:#}");
                figures.iter_mut().for_each(|figure| figure.fail(name, &error));
            }
        }
    }
}

impl Bench {
    pub fn dialer(&self, peer: &dyn Peer, group: Group) -> anyhow::Result<Dialer> {
        if peer.is_floor() { Ok(Dialer::plain()) } else { Dialer::new(&self.client, group) }
    }

    pub fn http2_dialer(&self) -> anyhow::Result<Dialer> {
        Ok(Dialer::new(&self.client, Group::X25519)?.http2())
    }

    pub fn start(&self, peer: &'static dyn Peer, mode: Mode) -> anyhow::Result<Started> {
        let number = self.sites.replace(self.sites.get() + 1);
        let directory = self.directory.join(format!("{number}-{}", peer.name().replace(' ', "-")));
        let (app, dialer) = match mode {
            Mode::Tcp | Mode::Http | Mode::LoggedHttp => (self.app, self.dialer(peer, Group::X25519)?),
            Mode::Grpc => (self.grpc_app, self.http2_dialer()?),
        };
        let site = Site::create(directory, &self.pki, app, mode)?;
        Started::start(peer, &self.programs, site, &dialer, self.cores)
    }

    /// All that can do this.
    pub fn start_all(&self, mode: Mode) -> anyhow::Result<Vec<Started>> {
        self.of(mode).map(|peer| self.start(peer, mode)).collect()
    }

    pub fn of(&self, mode: Mode) -> impl Iterator<Item = &'static dyn Peer> {
        self.peers.iter().copied().filter(move |peer| peer.modes().contains(&mode))
    }
}
