//! The control plane's proof by handshake, with real agents: it tells "let in" from "not let in", and
//! both from everything else that may go wrong, which proves nothing.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::slice::from_ref;
use std::thread::spawn;
use std::time::{Duration, Instant, SystemTime};

use hotcert::pki::keyring::{Keyring, RootId};
use hotcert::planner::observed::{HandshakeResult, Proof};
use hotcert::proof::{Prober, TIMEOUT};
use kit::agent::{Agent, Launch};
use kit::client::{SERVER, python, python_files};
use kit::echo::Echo;
use kit::pipe::Pipe;
use kit::pki::{Credentials, Pair, Pki, authority, dns, issue, request};
use kit::volume::Volume;
use kit::{own, until};
use tokio::net::TcpSocket;
use tokio::runtime::Runtime;

/// A keyring in a rollover from `old` to `new`, and a pod's volume.
pub(crate) struct Rollover {
    keyring: Keyring,
    old: RootId,
    new: RootId,
    pub(crate) volume: Volume,
    prober: Prober,
    runtime: Runtime,
    /// For its files.
    pki: Pki,
}

impl Default for Rollover {
    fn default() -> Self {
        Self::between("root one", "root two")
    }
}

impl Rollover {
    fn between(old: &str, new: &str) -> Self {
        let mut keyring = Keyring::new(authority(old));
        let old = keyring.state.signing().clone();
        let new = keyring.add(authority(new));
        assert!(keyring.state.begin(new.clone(), "a test".into(), SystemTime::now()));
        let pki = Pki::default();
        let prober = Prober::new("spiffe://hotcert/control-plane");
        Self { volume: pki.volume(SERVER), runtime: Runtime::new().unwrap(), keyring, old, new, prober, pki }
    }

    fn both(&self) -> Vec<RootId> {
        vec![self.old.clone(), self.new.clone()]
    }

    /// A leaf of `name` under `root`.
    fn leaf(&self, root: &RootId, name: &str) -> Pair {
        issue(&self.keyring.roots[root], &request(name))
    }

    fn bundle(&self, roots: &[&RootId]) -> String {
        roots.iter().map(|root| self.keyring.roots[*root].certificate_pem()).collect()
    }

    /// Publishes a leaf under `root`, trusting `roots`.
    fn publish(&self, root: &RootId, roots: &[&RootId]) -> Pair {
        let leaf = self.leaf(root, SERVER);
        self.volume.publish(&leaf, &self.bundle(roots));
        leaf
    }

    fn client(&self, root: &RootId, name: &str) -> Credentials {
        self.pki.credentials(name, &self.leaf(root, name), &self.bundle(&[&self.old, &self.new]))
    }

    fn prove(&self, address: SocketAddr, roots: &[RootId]) -> Proof {
        let now = SystemTime::now();
        let proof = self.runtime.block_on(self.prober.prove(&self.keyring, address, roots, now));
        assert_eq!(proof.taken_at, now);
        proof
    }

    /// What an agent shows to clients under both roots.
    #[track_caller]
    fn shown(&self, agent: &Agent) -> HandshakeResult {
        self.prove(agent.address("proof"), &self.both()).result.unwrap()
    }

    /// Asks until the agent has swapped. A swap between two handshakes is told as such, not guessed at.
    #[track_caller]
    fn wait(&self, agent: &Agent, what: &str, holds: impl Fn(&HandshakeResult) -> bool) {
        until(what, || match self.prove(agent.address("proof"), &self.both()).result {
            Ok(shown) => holds(&shown).then_some(()),
            Err(why) => {
                assert!(why.contains("certificate changed during the probe"), "{why}");
                None
            }
        });
    }

    /// Whether clients of the old and of the new root are let in.
    fn lets_in(&self, shown: &HandshakeResult) -> [bool; 2] {
        assert_eq!(shown.accepts.len(), 2);
        [shown.accepts[&self.old], shown.accepts[&self.new]]
    }

    /// Rolls over from the phase in which the agent serves `first` and trusts the old root alone.
    #[track_caller]
    pub(crate) fn each_phase_is_seen(&self, agent: &Agent, first: &Pair) {
        assert_eq!(self.lets_in(&self.shown(agent)), [true, false], "not distributed yet");
        self.volume.publish(first, &self.bundle(&[&self.old, &self.new]));
        self.wait(agent, "distributed", |shown| self.lets_in(shown) == [true, true]);

        let second = self.publish(&self.new, &[&self.old, &self.new]);
        self.wait(agent, "reissued", |shown| shown.leaf_sha256 == second.sha256);
        assert_eq!(self.lets_in(&self.shown(agent)), [true, true]);

        self.volume.publish(&second, &self.bundle(&[&self.new]));
        self.wait(agent, "retired", |shown| self.lets_in(shown) == [false, true]);
    }

    /// The first leaf, before the rollover.
    pub(crate) fn publish_first(&self) -> Pair {
        self.publish(&self.old, &[&self.old])
    }

    #[track_caller]
    fn fails(&self, address: SocketAddr, roots: &[RootId], words: &str) {
        let error = self.prove(address, roots).result.unwrap_err();
        assert!(error.contains(words), "{words} is not in: {error}");
    }
}

#[test]
fn each_phase_of_a_rollover_is_seen() {
    // Of one name, as roots of one authority are, a wrong one is found by its signature.
    for (old, new) in [("root one", "root two"), ("root", "root")] {
        let set = Rollover::between(old, new);
        let first = set.publish_first();
        let agent = Launch::new(&set.volume.path).ready();
        assert_eq!(set.shown(&agent).leaf_sha256, first.sha256);
        let refused = set.prove(agent.address("proof"), from_ref(&set.new)).result.unwrap();
        assert_eq!(refused.leaf_sha256, first.sha256, "a refusal shows the leaf too");
        assert_eq!((refused.accepts.len(), refused.accepts[&set.new]), (1, false));
        set.each_phase_is_seen(&agent, &first);
    }
}

#[test]
fn connections_are_counted_under_the_root_they_came_in_under_until_they_end() {
    let set = Rollover::default();
    set.publish(&set.new, &[&set.old, &set.new]);
    let echo = Echo::default();
    // Itself it goes out to a server that is still under the old root.
    let far = set.pki.volume("far");
    far.publish(&set.leaf(&set.old, "far"), &set.bundle(&[&set.old, &set.new]));
    let peer = Launch::new(&far.path).inbound("", echo.address).ready();
    let route = format!("{}#{}", peer.address("inbound"), dns("far"));
    let agent = Launch::new(&set.volume.path).inbound("", echo.address).outbound("", route).ready();
    let under = || {
        let counts = set.shown(&agent).connections_under;
        assert_eq!(counts.len(), 2);
        [counts[&set.old], counts[&set.new]]
    };
    assert_eq!(under(), [0, 0]);
    let inbound = agent.address("inbound");
    let [old_client, new_client] = [set.client(&set.old, "old"), set.client(&set.new, "new")];
    let connect = |who: &Credentials| {
        let mut pipe = Pipe::tls(inbound, who, &[]);
        assert!(pipe.echoes("hello"));
        pipe
    };
    let old = [connect(&old_client), connect(&old_client)];
    assert_eq!(under(), [2, 0]);
    let _new = connect(&new_client);
    assert_eq!(under(), [2, 1]);
    let mut out = Pipe::tcp(agent.address("outbound"));
    assert!(out.echoes("hello"));
    assert_eq!(under(), [3, 1]);
    drop(old);
    until("the old clients gone", || (under() == [1, 1]).then_some(()));
    drop(out);
    until("the old server let go", || (under() == [0, 1]).then_some(()));
}

#[test]
fn with_one_root_everything_hangs_on_it() {
    let set = Rollover::default();
    set.publish(&set.old, &[&set.old]);
    let echo = Echo::default();
    let agent = Launch::new(&set.volume.path).inbound("", echo.address).ready();
    let mut held = Pipe::tls(agent.address("inbound"), &set.client(&set.old, "old"), &[]);
    assert!(held.echoes("hello"));
    let counts = set.shown(&agent).connections_under;
    assert_eq!(counts.into_iter().collect::<Vec<_>>(), [(set.old.clone(), 1)]);
}

#[test]
fn who_does_not_answer_is_waited_for_no_longer_than_the_deadline() {
    let set = Rollover::default();
    // Of the system's own accord connections are taken until the backlog is full.
    let full = set.runtime.block_on(async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        socket.listen(0).unwrap()
    });
    let full_address = full.local_addr().unwrap();
    let crowd = || TcpStream::connect_timeout(&full_address, Duration::from_millis(100)).ok();
    let _crowd: Vec<_> = std::iter::repeat_with(crowd).take_while(Option::is_some).collect();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let begin = Instant::now();
    let ask = |address| set.prober.prove(&set.keyring, address, &set.both(), SystemTime::now());
    let (unreached, unanswered) = set.runtime.block_on(async {
        let asking = [full_address, silent.local_addr().unwrap()].map(|address| tokio::spawn(ask(address)));
        let [unreached, unanswered] = asking;
        (unreached.await.unwrap(), unanswered.await.unwrap())
    });
    let took = begin.elapsed();
    assert!((TIMEOUT..TIMEOUT + Duration::from_secs(3)).contains(&took), "{took:?}");
    let (unreached, unanswered) = (unreached.result.unwrap_err(), unanswered.result.unwrap_err());
    assert!(unreached.contains("NetworkPolicy"), "{unreached}");
    assert!(unanswered.contains("did not finish the TLS handshake"), "{unanswered}");
}

#[test]
fn what_is_no_agent_of_this_authority_is_an_error_that_says_so() {
    let set = Rollover::default();
    set.publish(&set.old, &[&set.old]);
    let agent = Launch::new(&set.volume.path).ready();
    let both = set.both();
    set.fails(agent.address("admin"), &both, "does not speak TLS on port");

    set.fails(own::address(19_000), &both, "refuses connections");

    let foreign = set.pki.volume("foreign");
    foreign.publish(&set.pki.leaf(SERVER), set.pki.roots());
    let foreign = Launch::new(&foreign.path).ready();
    let shown = set.prove(foreign.address("proof"), &both).result.unwrap();
    let why = shown.foreign.unwrap();
    assert!(why.contains("a certificate that this authority did not sign"), "{why}");

    let closing = TcpListener::bind("127.0.0.1:0").unwrap();
    let closing_address = closing.local_addr().unwrap();
    spawn(move || closing.incoming().for_each(drop));
    set.fails(closing_address, &both, "closed the connection in the TLS handshake");

    for (mode, words) in [("http", "cannot be read: missing field"), ("echo", "without an answer to /proof")]
    {
        let mut server = python("server.py");
        server.arg(mode).args(python_files(&set.client(&set.old, SERVER)));
        let mut server = Pipe::program(server);
        let port = u16::try_from(server.line()["port"].as_u64().unwrap()).unwrap();
        set.fails(([127, 0, 0, 1], port).into(), from_ref(&set.old), words);
    }
}

/// A line that is cut when the client has finished its handshake, before the server hears of it.
fn cut_after_handshake(server: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    spawn(move || {
        for mut client in listener.incoming().map_while(Result::ok) {
            let mut server = TcpStream::connect(server).unwrap();
            let (mut from, mut to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            spawn(move || std::io::copy(&mut from, &mut to));
            let mut buffer = [0; 1 << 14];
            let hello = client.read(&mut buffer).unwrap();
            server.write_all(&buffer[..hello]).unwrap();
            let _finished = client.read(&mut buffer).unwrap();
            client.shutdown(Shutdown::Both).unwrap();
        }
    });
    address
}

#[test]
fn connection_that_closes_without_a_word_is_no_refusal() {
    let set = Rollover::default();
    set.publish(&set.old, &[&set.old]);
    let agent = Launch::new(&set.volume.path).ready();
    let address = cut_after_handshake(agent.address("proof"));
    for root in set.both() {
        set.fails(address, &[root], "closed the connection without an answer");
    }
}

#[test]
fn roots_that_the_keyring_has_no_more_are_passed_over() {
    let set = Rollover::default();
    let stranger = authority("stranger");
    set.publish(&set.old, &[&set.old]);
    let agent = Launch::new(&set.volume.path).ready();
    set.fails(agent.address("proof"), &[RootId::of(&stranger)], "no such root");
    let asked = [set.old.clone(), RootId::of(&stranger)];
    let shown = set.prove(agent.address("proof"), &asked).result.unwrap();
    assert_eq!(shown.accepts.into_iter().collect::<Vec<_>>(), [(set.old.clone(), true)]);
}
