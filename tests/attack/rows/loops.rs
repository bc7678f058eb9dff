//! A request that comes back to the agent that sent it: refused at start where the agent can see it, cut where it
//! goes through another process.

use std::io;
use std::net::SocketAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use kit::agent::{Launch, program};
use kit::client::SERVER;
use kit::dialer::{Dialer, Group};
use kit::pki::{Pki, spiffe};
use tokio::net::{TcpListener, TcpStream};

use super::Row;
use super::log::free_addresses;
use crate::Times;
use crate::attacker::{Attacker, Target, on_runtime, step};
use crate::figures::Line;
use crate::honest::{Plan, get};
use crate::usage::{Peak, descriptors, resident_kib};

pub const ROW: Row = Row {
    name: "loop",
    attack: "the app of an inbound route is the agent's own outbound route, at once or through another process",
    measure,
    attacks: &[("forwarder", forward)],
};

const MOST_MIB: u64 = 8;
const MOST_DESCRIPTORS: u64 = 64;
const REFUSED_WITHIN: Duration = Duration::from_secs(3);
/// What it takes to see that a configuration is refused.
const USAGE_ERROR: i32 = 2;

fn measure(times: Times) -> anyhow::Result<Vec<Line>> {
    let pki = Pki::default();
    let volume = pki.volume(SERVER);
    volume.publish(&pki.leaf(SERVER), pki.roots());
    let [inbound, outbound, forwarder] = free_addresses()?;
    let route = format!("http:{outbound}=localhost:{}#{}", inbound.port(), spiffe(SERVER));
    let mut lines = vec![refused(&volume.path, &format!("http:{inbound}={outbound}"), &route)?];
    let agent = Launch::new(&volume.path)
        .args(["--workers", "1", "--inbound", &format!("http:{inbound}={forwarder}"), "--outbound", &route])
        .ready();
    // Another process between the two. Where it listens is told in place of a number of connections.
    let mut between = Attacker::start("forwarder", outbound, forwarder.port().into(), None)?;
    between.wait_under_way()?;
    let client = Dialer::new(&pki.leaf("storefront"), Group::X25519)?.config();
    let rest = (resident_kib(agent.id()), descriptors(agent.id()));
    let peak = Peak::of(agent.id());
    let outcome = Plan::visits(inbound, client, get("/")).at_once(1).remove(0);
    sleep(times.rest);
    let most = peak.end();
    let answer = outcome.err().map(|error| error.to_string()).unwrap_or_default();
    let what = |thing: &str| format!("{thing} above rest after one request ({answer})");
    let (mib, open) = (most.0.saturating_sub(rest.0).div_ceil(1024), most.1.saturating_sub(rest.1));
    lines.push(Line::must("a request that goes round", "status 508", &answer, answer == "status 508"));
    lines.push(Line::most(what("descriptors"), "", MOST_DESCRIPTORS, rest.1, open));
    lines.push(Line::most(what("MiB"), " MiB", MOST_MIB, rest.0 / 1024, mib));
    Ok(lines)
}

fn refused(identity: &std::path::Path, inbound: &str, outbound: &str) -> anyhow::Result<Line> {
    let mut command = std::process::Command::new(program("hotcert-agent"));
    command.args(["run", "--inbound", inbound, "--outbound", outbound, "--identity"]).arg(identity);
    command.args(["--admin", "127.0.0.1:0", "--proof", "127.0.0.1:0"]);
    let silent = std::process::Stdio::null;
    let mut child = command.stdin(silent()).stdout(silent()).stderr(silent()).spawn()?;
    let begin = Instant::now();
    let mut ended = None;
    while ended.is_none() && begin.elapsed() < REFUSED_WITHIN {
        sleep(Duration::from_millis(10));
        ended = child.try_wait()?;
    }
    let _ = child.kill();
    child.wait()?;
    let code = ended.and_then(|status| status.code());
    let is = code.map_or("it serves".into(), |code| format!("exit {code}"));
    Ok(Line::must("own outbound as an app", "refused at start", is, code == Some(USAGE_ERROR)))
}

fn forward(target: Target) -> io::Result<()> {
    on_runtime(async {
        let port = u16::try_from(target.connections).map_err(io::Error::other)?;
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port))).await?;
        step();
        loop {
            // At the end of descriptors it waits for some, as any server.
            let Ok((mut client, _)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            };
            tokio::spawn(async move {
                let mut server = TcpStream::connect(target.address).await?;
                tokio::io::copy_bidirectional(&mut client, &mut server).await
            });
        }
    })
}
