//! Clients that are not ours: OpenSSL, curl, Python's `ssl`. And plain HTTP for the admin port.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::DEADLINE;
use crate::pki::{Credentials, Pair, dns};

/// The name that clients ask for.
pub const SERVER: &str = "payments";

/// A program that is killed when it takes too long.
pub fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=1", "60"]).arg(program).stdin(Stdio::null());
    command
}

/// `openssl s_client` or `s_time` with a client certificate; standard output and error together.
pub fn openssl(tool: &str, address: SocketAddr, who: &Credentials, extra: &[&str]) -> String {
    let mut command = command("openssl");
    command.args([tool, "-connect", &address.to_string()]).args(files(who)).args(extra);
    if tool == "s_client" {
        command.args(["-servername", &dns(SERVER)]);
    }
    both(&command.output().unwrap())
}

pub fn files(who: &Credentials) -> [&std::ffi::OsStr; 6] {
    let Credentials { cert, key, ca } = who;
    ["-cert".as_ref(), cert.as_ref(), "-key".as_ref(), key.as_ref(), "-CAfile".as_ref(), ca.as_ref()]
}

/// Both streams of a program that is done.
pub fn both(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// The serial number of the leaf that a new handshake shows, if there is one.
pub fn served(address: SocketAddr, who: &Credentials) -> Option<String> {
    let text = openssl("s_client", address, who, &[]);
    let leaf = text.find("-----BEGIN CERTIFICATE-----")?;
    Some(Pair::new(&text[leaf..], "").serial)
}

/// The system's own Python rather than one of a version manager, which is slow to start.
pub fn python(script: &str) -> Command {
    let system = Path::new("/usr/bin/python3");
    let mut command = command(if system.exists() { system } else { Path::new("python3") });
    command.arg("-u").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(script));
    command
}

pub fn python_files(who: &Credentials) -> [&std::ffi::OsStr; 6] {
    let Credentials { cert, key, ca } = who;
    ["--cert".as_ref(), cert.as_ref(), "--key".as_ref(), key.as_ref(), "--ca".as_ref(), ca.as_ref()]
}

/// One TLS connection, one line there and back, by Python. `{"ok", "error", "version", "serial"}`.
pub fn exchange(address: SocketAddr, who: &Credentials, extra: &[&str]) -> Value {
    let mut command = python("exchange.py");
    command.arg(address.to_string()).args(python_files(who)).args(extra);
    let output = command.output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", both(&output)))
}

/// Whether data goes there and back.
pub fn accepted(address: SocketAddr, who: &Credentials) -> bool {
    exchange(address, who, &[])["ok"] == true
}

/// An HTTP response.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    /// A header of the last response.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(is, _)| is.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }
}

/// Plain HTTP, as a probe asks.
pub fn get(address: SocketAddr, path: &str) -> std::io::Result<Answer> {
    ask(address, &format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"))
}

/// Sends these bytes and reads one response, up to the end of the connection.
pub fn ask(address: SocketAddr, request: &str) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&address, DEADLINE)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.write_all(request.as_bytes())?;
    let mut response = Vec::new();
    stream.read_to_end(&mut response)?;
    let text = String::from_utf8_lossy(&response);
    let (head, _) = text.split_once("\r\n\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
    let mut body = response[head.len() + 4..].to_vec();
    if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        body = unchunk(&body);
    }
    Ok(Answer { status, head: head.into(), body })
}

fn unchunk(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(line) = rest.windows(2).position(|pair| pair == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..line]).unwrap().trim(), 16).unwrap();
        body.extend_from_slice(&rest[line + 2..][..size]);
        rest = &rest[line + 4 + size..];
    }
    body
}

/// curl, as a person would type it.
pub struct Curl {
    command: Command,
    directory: TempDir,
}

/// What curl came back with. `exit` is 0 if it got a whole response.
#[derive(Debug)]
pub struct Fetched {
    pub answer: Answer,
    pub version: String,
    pub exit: i32,
    pub errors: String,
    /// What `-w` had it say.
    pub said: String,
}

impl Curl {
    pub fn new(url: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let mut command = command("curl");
        command
            .args(["-sSN", "--max-time", "50", "--noproxy", ""])
            .arg("-o")
            .arg(directory.path().join("body"));
        command.arg("-D").arg(directory.path().join("head")).args([
            "-w",
            "%{http_code} %{http_version}",
            url,
        ]);
        Self { command, directory }
    }

    /// `https://payments.shop.svc:PORT/path`, wherever that is.
    pub fn https(address: SocketAddr, path: &str, who: &Credentials) -> Self {
        let name = dns(SERVER);
        let mut curl = Self::new(&format!("https://{name}:{}{path}", address.port()));
        curl.command.arg("--resolve").arg(format!("{name}:{}:{}", address.port(), address.ip()));
        curl.command.arg("--cert").arg(&who.cert).arg("--key").arg(&who.key).arg("--cacert").arg(&who.ca);
        curl
    }

    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<std::ffi::OsStr>>) -> Self {
        self.command.args(args);
        self
    }

    pub fn run(self) -> Fetched {
        self.start().finish()
    }

    pub fn start(mut self) -> Fetching {
        let child = self.command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        Fetching { child, directory: self.directory }
    }
}

/// A curl that is under way.
pub struct Fetching {
    child: std::process::Child,
    directory: TempDir,
}

impl Fetching {
    pub fn body_path(&self) -> PathBuf {
        self.directory.path().join("body")
    }

    /// How much of the body has arrived.
    pub fn received(&self) -> u64 {
        std::fs::metadata(self.body_path()).map_or(0, |file| file.len())
    }

    /// The person has had enough.
    pub fn stop(self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        self.finish();
    }

    pub fn finish(self) -> Fetched {
        let (head, body) = (self.directory.path().join("head"), self.body_path());
        let output = self.child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let (status, version) = said.split_once(' ').unwrap_or_default();
        Fetched {
            answer: Answer {
                status: status.parse().unwrap_or_default(),
                head: std::fs::read_to_string(head).unwrap_or_default(),
                body: std::fs::read(body).unwrap_or_default(),
            },
            version: version.into(),
            said: said.clone(),
            exit: output.status.code().unwrap_or(-1),
            errors: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}
