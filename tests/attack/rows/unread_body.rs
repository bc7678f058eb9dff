//! An app that ignores the body of a GET takes it for the next request. The agent must not hand it one: not by a
//! body, not by a header that looks like its own, not by a `Host` that others read differently.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::spawn;

use anyhow::ensure;

use super::Row;
use crate::Times;
use crate::figures::Line;
use crate::honest::{Plan, get};
use crate::world::World;

pub const ROW: Row = Row {
    name: "unread-body",
    attack: "a peer hides a request with a forged identity in the body of a GET, spells the identity header in other \
             ways, and sends a Host that is none",
    measure,
    attacks: &[],
};

const TIMES: usize = 20;
const FORGED: &str = "URI=spiffe://cluster.test/ns/shop/sa/forged";
/// What an app or the server before it may take for the identity header.
const SPELLINGS: [&str; 5] = [
    "X-Forwarded-Client-Cert",
    "X_Forwarded_Client_Cert",
    "X.Forwarded.Client.Cert",
    "x-forwarded_client.cert",
    "X~Forwarded~Client~Cert",
];
const HOSTS: [&str; 5] = [
    "payments.shop.svc evil",
    "evil payments.shop.svc",
    "user@payments.shop.svc",
    "user:secret@payments",
    "a\tb",
];

fn measure(_: Times) -> anyhow::Result<Vec<Line>> {
    let heard = Arc::<Mutex<Vec<Heard>>>::default();
    let app = start_app(Arc::clone(&heard))?;
    let world = World::with(|launch, _| launch.inbound("http:", app));
    let plan = Plan::visits(world.inbound(), world.storefront()?, get("/"));
    let count = |is: fn(&Heard) -> bool| heard.lock().unwrap().iter().filter(|one| is(one)).count() as u64;
    let heard_all = || count(|_| true);

    plan.at_once(TIMES);
    ensure!(heard_all() == TIMES as u64, "{} of {TIMES} requests arrive at rest", heard_all());
    let rest = format!("{} of {TIMES} arrive", heard_all());
    let hidden = format!("GET /hidden HTTP/1.1\r\nhost: a\r\nx-forwarded-client-cert: {FORGED}\r\n\r\n");
    let length = hidden.len();
    let outer =
        format!("GET /outer HTTP/1.1\r\nhost: payments.shop.svc\r\ncontent-length: {length}\r\n\r\n{hidden}");
    for _ in 0..TIMES {
        plan.converse(&[outer.clone().into_bytes(), get("/next")()]);
    }
    let outer = count(|one| one.path == "/outer");
    ensure!(outer == TIMES as u64, "{outer} of {TIMES} requests with a body arrive");
    let mut lines = vec![
        Line::most(
            "requests that nobody sent reach the app",
            "",
            0,
            &rest,
            count(|one| one.path == "/hidden"),
        ),
        Line::most(
            "requests after an unread body on its connection",
            "",
            0,
            &rest,
            count(|one| one.after_body),
        ),
    ];

    let before = count(|one| one.forged);
    for spelling in SPELLINGS {
        plan.converse(&[
            format!("GET /spelled HTTP/1.1\r\nhost: a\r\n{spelling}: {FORGED}\r\n\r\n").into_bytes()
        ]);
    }
    let spelled = count(|one| one.path == "/spelled");
    ensure!(spelled == SPELLINGS.len() as u64, "{spelled} of {} spellings arrive", SPELLINGS.len());
    let names = format!("spellings of the identity header that reach the app, of {}", SPELLINGS.len());
    lines.push(Line::most(names, "", 0, &rest, count(|one| one.forged) - before));

    let before = heard_all();
    let mut refused = 0;
    for host in HOSTS {
        let request = format!("GET /host HTTP/1.1\r\nhost: {host}\r\n\r\n").into_bytes();
        let outcome = plan.converse(&[request]).remove(0);
        refused += u64::from(outcome.is_err_and(|error| error.to_string() == "status 400"));
    }
    let arrived = heard_all() - before;
    let bound = format!("{} refused with 400", HOSTS.len());
    let is = format!("{refused} refused with 400, {arrived} reach the app");
    let held = refused == HOSTS.len() as u64 && arrived == 0;
    lines.push(Line::new("Host with spaces or userinfo", bound, &rest, is, held));
    Ok(lines)
}

/// A request as the app saw it.
struct Heard {
    path: String,
    forged: bool,
    /// It came on a connection on which a body was announced before.
    after_body: bool,
}

/// It answers every head that it reads and looks at no body, as an app may that expects none; it closes when asked to.
fn start_app(heard: Arc<Mutex<Vec<Heard>>>) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let heard = Arc::clone(&heard);
            spawn(move || answer_all(&stream, &heard));
        }
    });
    Ok(address)
}

fn answer_all(stream: &TcpStream, heard: &Mutex<Vec<Heard>>) -> io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let mut after_body = false;
    loop {
        let head: Vec<String> =
            lines.by_ref().map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
        let Some(path) = head.first().and_then(|line| line.split(' ').nth(1)) else { return Ok(()) };
        let lower: Vec<String> = head.iter().map(|line| line.to_ascii_lowercase()).collect();
        let forged = head.iter().any(|line| line.contains(FORGED));
        heard.lock().unwrap().push(Heard { path: path.into(), forged, after_body });
        after_body |=
            lower.iter().any(|line| line.starts_with("content-length: ") && line != "content-length: 0");
        after_body |= lower.iter().any(|line| line.starts_with("transfer-encoding:"));
        let closes = lower.iter().any(|line| line == "connection: close");
        let connection = if closes { "connection: close\r\n" } else { "" };
        let mut stream = stream;
        stream.write_all(format!("HTTP/1.1 200 OK\r\n{connection}content-length: 2\r\n\r\nok").as_bytes())?;
        if closes {
            return Ok(());
        }
    }
}
