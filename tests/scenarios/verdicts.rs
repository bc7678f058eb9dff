//! One chain has one verdict, whoever asks: `check` with the chain as an identity, an agent that a client with it
//! connects to, and an agent that connects to a server with it. OpenSSL is the client and the server, and is asked for
//! its own opinion: where that is another, the case says why.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use kit::DEADLINE;
use kit::agent::{Agent, Launch, program};
use kit::chain_cases::{self, ChainCase, NAME};
use kit::client::{SERVER, both, command};
use kit::echo::Echo;
use kit::pki::{Pki, write};
use serde_json::Value;

/// OpenSSL presents and takes whatever it is told to.
const ANY_STRENGTH: [&str; 2] = ["-cipher", "DEFAULT@SECLEVEL=0"];

struct Files {
    directory: PathBuf,
    leaf: PathBuf,
    rest: PathBuf,
}

impl Files {
    fn of(case: &ChainCase, directory: PathBuf) -> Self {
        std::fs::create_dir(&directory).unwrap();
        let file = |name: &str, content: &str| write(&directory.join(name), content);
        file("tls.crt", &case.chain.concat());
        file("tls.key", &case.key);
        file("ca.crt", &case.roots);
        let rest: String = case.chain.iter().filter(|other| **other != case.leaf).cloned().collect();
        Self { leaf: file("leaf", &case.leaf), rest: file("rest", &rest), directory }
    }

    fn present(&self, tool: &str) -> Command {
        let mut openssl = command("openssl");
        openssl.arg(tool).args(ANY_STRENGTH).arg("-cert").arg(&self.leaf);
        openssl.arg("-key").arg(self.directory.join("tls.key"));
        if std::fs::metadata(&self.rest).unwrap().len() > 0 {
            openssl.arg("-cert_chain").arg(&self.rest);
        }
        openssl
    }
}

/// `check`, as for a server or a client: the reason of a refusal, and the whole text.
fn check(files: &Files, args: &[&str]) -> (Option<String>, Value, String) {
    let run = |more: &[&str]| {
        let mut check = command(program("hotcert-agent"));
        check.arg("check").arg(&files.directory).args(args).args(more).output().unwrap()
    };
    let output = run(&["--json"]);
    let report: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", both(&output)));
    let role = if args.is_empty() { "server" } else { "client" };
    let reason = match output.status.success() {
        true if report["leaf"]["roles"].as_array().unwrap().contains(&role.into()) => None,
        true => Some("usage_missing".to_owned()),
        false => Some(report["faults"][0]["reason"].as_str().unwrap().to_owned()),
    };
    (reason, report, both(&run(&[])))
}

/// Whether a client with the chain gets an echo.
fn is_let_in(files: &Files, inbound: SocketAddr) -> bool {
    let mut client = files.present("s_client");
    client.args(["-quiet", "-connect", &inbound.to_string()]);
    let mut client =
        client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let _ = client.stdin.as_mut().unwrap().write_all(b"ping\n");
    let mut line = String::new();
    let _ = BufReader::new(client.stdout.take().unwrap()).read_line(&mut line);
    let _ = client.kill();
    client.wait().unwrap();
    line == "ping\n"
}

/// A server with the chain, which turns each line around.
struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    fn start(files: &Files) -> Self {
        let mut server = files.present("s_server");
        server.args(["-accept", "127.0.0.1:0", "-rev"]);
        let mut process = server.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let address = lines.map_while(Result::ok).find_map(|line| line.strip_prefix("ACCEPT ")?.parse().ok());
        Self { process, address: address.expect("an address") }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Whether the agent connects to the server behind this listener.
fn is_reached(outbound: SocketAddr) -> bool {
    // It may be over before it has begun.
    let Ok(mut stream) = TcpStream::connect_timeout(&outbound, DEADLINE) else { return false };
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut answer = [0; 5];
    stream.write_all(b"ping\n").is_ok() && stream.read_exact(&mut answer).is_ok() && &answer == b"gnip\n"
}

/// Whether `openssl verify` takes it for this purpose.
fn openssl_takes(files: &Files, purpose: &str) -> bool {
    let mut verify = command("openssl");
    verify.args(["verify", "-purpose", purpose, "-CAfile"]).arg(files.directory.join("ca.crt"));
    if std::fs::metadata(&files.rest).unwrap().len() > 0 {
        verify.arg("-untrusted").arg(&files.rest);
    }
    verify.arg(&files.leaf).output().unwrap().status.success()
}

fn judge(case: &ChainCase, files: &Files, agent: &Agent, outbound: SocketAddr) -> Vec<String> {
    let (server, report, text) = check(files, &[]);
    let (client, ..) = check(files, &["--client-only"]);
    let mut wrong = Vec::new();
    let mut expect = |what: &str, is: String, wanted: String| {
        if is != wanted {
            wrong.push(format!("{}: {what}: {is}, not {wanted}: {report:#}\n{text}", case.name));
        }
    };
    expect("check as a server", format!("{server:?}"), format!("{:?}", case.server));
    expect("check as a client", format!("{client:?}"), format!("{:?}", case.client));
    let says = case.says.unwrap_or_default();
    expect("the words", text.contains(says).to_string(), "true".into());
    let is = |takes: bool| takes.to_string();
    expect("a client with it", is(is_let_in(files, agent.address("inbound"))), is(case.client.is_none()));
    expect("a server with it", is(is_reached(outbound)), is(case.server.is_none()));
    // A name that is missing is not looked for.
    let by_name = case.server == Some("name_missing");
    let server = openssl_takes(files, "sslserver") == (case.server.is_none() || by_name);
    let agrees = server && openssl_takes(files, "sslclient") == case.client.is_none();
    expect("OpenSSL agrees", is(agrees), is(case.openssl_differs.is_none()));
    expect("Rust in the text", is(is_of_rust(&text)), is(false));
    wrong
}

/// Whether a text for people shows how a value looks in Rust.
fn is_of_rust(text: &str) -> bool {
    ["Other(", "Error(", "Context {", "Some(", "[6, 9"].iter().any(|part| text.contains(part))
}

#[test]
fn check_a_client_and_a_server_with_the_same_chain_have_one_verdict() {
    let (pki, echo, cases) = (Pki::default(), Echo::default(), chain_cases::all());
    let files: Vec<_> =
        cases.iter().enumerate().map(|(n, case)| Files::of(case, pki.path(&format!("case-{n}")))).collect();
    let servers: Vec<_> = files.iter().map(Server::start).collect();
    let volume = pki.volume(SERVER);
    let roots: String = cases.iter().map(|case| case.roots.as_str()).collect();
    volume.publish(&pki.leaf(SERVER), &(pki.roots().to_owned() + &roots));
    let mut launch = Launch::new(&volume.path).inbound("", echo.address);
    for server in &servers {
        launch = launch.outbound("", format!("{}#dns:{NAME}", server.address));
    }
    let agent = launch.ready();
    let outbound = agent.addresses("outbound");
    let next = Mutex::new(cases.iter().zip(&files).zip(outbound));
    let wrong = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let Some(((case, files), outbound)) = next.lock().unwrap().next() else { return };
                    let found = judge(case, files, &agent, outbound);
                    wrong.lock().unwrap().extend(found);
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    let log = agent.log_text();
    let rust = log.lines().find(|line| is_of_rust(line));
    assert_eq!(rust, None, "no Rust in the log");
}
