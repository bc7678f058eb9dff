//! Routes that lead back into an agent: those that can be known are refused at the start, and a request that goes round
//! through others ends with a reason, at a cost that is bounded.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Output;
use std::sync::mpsc::{Sender, channel};

use kit::agent::{Agent, Launch, program};
use kit::client::{Curl, SERVER, both, command};
use kit::pki::{Pki, dns};
use kit::scene::Scene;
use kit::volume::Volume;
use kit::{own, until};
use serde_json::Value;

/// A port that leads to a place which is known only later, as a proxy of somebody else does.
struct Joint {
    address: SocketAddr,
    leads_to: Sender<SocketAddr>,
}

impl Joint {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (leads_to, place) = channel();
        std::thread::spawn(move || {
            let Ok(place) = place.recv() else { return };
            for from in listener.incoming().map_while(Result::ok) {
                let Ok(to) = TcpStream::connect(place) else { continue };
                for (mut one, mut other) in [(from.try_clone().unwrap(), to.try_clone().unwrap()), (to, from)]
                {
                    std::thread::spawn(move || {
                        let _ = std::io::copy(&mut one, &mut other);
                        let _ = other.shutdown(std::net::Shutdown::Write);
                    });
                }
            }
        });
        Self { address, leads_to }
    }
}

/// An inbound whose app is the outbound of another agent, which leads to that inbound.
struct Circle {
    pki: Pki,
    inbound: Agent,
    outbound: Agent,
    _volumes: [Volume; 2],
}

impl Circle {
    fn new(mode: &str) -> Self {
        let (pki, joint) = (Pki::default(), Joint::new());
        let volumes = [SERVER, "storefront"].map(|name| {
            let volume = pki.volume(name);
            volume.publish(&pki.leaf(name), pki.roots());
            volume
        });
        // Should it go round for ever, then within bounds.
        let launch = |volume: &Volume| Launch::new(&volume.path).args(["--max-connections", "500"]);
        let inbound = launch(&volumes[0]).inbound(mode, joint.address).ready();
        let route = format!("{}#{}", inbound.address("inbound"), dns(SERVER));
        let outbound = launch(&volumes[1]).outbound("http:", route).ready();
        joint.leads_to.send(outbound.address("outbound")).unwrap();
        Self { pki, inbound, outbound, _volumes: volumes }
    }

    fn requests(&self) -> f64 {
        self.inbound.metrics().sum("hotcert_proxied_requests_total", &[("side", "inbound")])
    }

    fn refused_as_loop(&self) -> f64 {
        let count =
            |agent: &Agent| agent.metrics().sum("hotcert_refused_requests_total", &[("reason", "loop")]);
        count(&self.inbound) + count(&self.outbound)
    }
}

#[test]
fn a_request_that_goes_round_through_others_is_a_508_and_costs_little() {
    for mode in ["http:", "h2c:"] {
        let circle = Circle::new(mode);
        let client = circle.pki.client("client");
        let before = circle.inbound.descriptors();
        for (at, version) in ["--http1.1", "--http2"].iter().enumerate() {
            let got = Curl::https(circle.inbound.address("inbound"), "/", &client).args([version]).run();
            assert_eq!(got.answer.status, 508, "{mode} {version}: {:?}", got.answer);
            let error = got.answer.header("x-hotcert-error").unwrap_or_default();
            assert!(error.contains("goes in a circle") && got.answer.text().contains(error), "{error}");
            assert_eq!(circle.refused_as_loop(), at as f64 + 1.0);
        }
        assert!(circle.requests() <= 2.0 * 32.0, "{} requests", circle.requests());
        until("one of them says so", || {
            [&circle.inbound, &circle.outbound]
                .iter()
                .any(|agent| agent.logged("goes in a circle") > 0)
                .then_some(())
        });
        // Connections of the circle: one from the client's side and one to the app for each time round.
        let now = circle.inbound.descriptors();
        assert!(now < before + 100, "{before} descriptors before, {now} after");
    }
}

/// What the app sees of a second agent on the way is the count alone.
#[test]
fn two_agents_in_a_row_show_the_app_what_one_does() {
    let scene = Scene::http(&[]);
    let volume = scene.pki.volume("storefront");
    volume.publish(&scene.pki.leaf("storefront"), scene.pki.roots());
    let route = format!("{}#{}", scene.inbound(), dns(SERVER));
    let before = Launch::new(&volume.path).outbound("http:", route).ready();
    let one = scene.curl("/headers").args(["--http1.1"]).run().answer.json();
    let two = Curl::new(&format!("http://{}/headers", before.address("outbound"))).run().answer.json();
    let names = |seen: &Value| {
        let headers = seen["headers"].as_array().unwrap().iter();
        let mut names: Vec<_> = headers.map(|header| header[0].as_str().unwrap().to_owned()).collect();
        names.sort_unstable();
        names
    };
    assert_eq!(names(&one), names(&two));
    let hops = |seen: &Value| {
        let headers = seen["headers"].as_array().unwrap().iter();
        headers
            .filter(|header| header[0] == "hotcert-hops")
            .map(|header| header[1].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!((hops(&one), hops(&two)), (vec!["1".into()], vec!["2".into()]));
}

fn run(args: &[&str]) -> Output {
    command(program("hotcert-agent")).args(["run", "--identity", "/nowhere"]).args(args).output().unwrap()
}

#[test]
fn a_route_back_into_the_agent_itself_is_refused_at_the_start() {
    for (args, parts) in [
        (
            &["--inbound", "http:0.0.0.0:18443=127.0.0.1:19001", "--outbound", "http:127.0.0.1:19001=a:1"][..],
            ["--inbound: ", "127.0.0.1:19001 is this agent's own listener of --outbound"],
        ),
        (
            &["--inbound", "0.0.0.0:18443=0.0.0.0:18443"],
            ["--inbound: ", "0.0.0.0:18443 is this agent's own listener of --inbound"],
        ),
        (
            &["--outbound", "127.0.0.1:19001=localhost:19001"],
            ["--outbound: ", "localhost:19001 is this agent's own listener of --outbound"],
        ),
    ] {
        let output = run(args);
        let text = both(&output);
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
    }
}

/// A name is known only when it is dialled.
#[test]
fn a_tcp_route_to_a_name_that_leads_to_the_agent_is_not_dialled() {
    let host = hostname();
    let pki = Pki::default();
    let volume = pki.volume("storefront");
    volume.publish(&pki.leaf("storefront"), pki.roots());
    let port = own::port(0);
    let agent = Launch::bare(2)
        .args(["--identity".as_ref(), volume.path.as_os_str()])
        .args(["--log-format", "json", "--proof", "127.0.0.1:0", "--admin", &format!("0.0.0.0:{port}")])
        .outbound("", format!("{host}:{port}#{}", dns(SERVER)))
        .ready();
    let before = agent.metrics().sum("hotcert_handshakes_total", &[("side", "outbound")]);
    drop(TcpStream::connect(agent.address("outbound")).unwrap());
    agent.until_logged("is this agent's own listener of --admin");
    assert_eq!(agent.metrics().sum("hotcert_handshakes_total", &[("side", "outbound")]), before);
}

/// A name of this machine that is not `localhost`.
fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    name.trim().into()
}
