//! One connection held in the hand: a program whose input and output are the connection's two ways.

use std::fs;
use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::client::{SERVER, command, files};
use crate::pki::{Credentials, dns};
use crate::{DEADLINE, within};

pub struct Pipe {
    child: Option<Child>,
    write: Write,
    heard: Arc<Mutex<(Vec<u8>, bool)>>,
    /// How much of what was heard has been taken.
    taken: usize,
}

enum Write {
    Program(ChildStdin),
    Socket(TcpStream),
    Closed,
}

impl Pipe {
    /// A TLS connection by `openssl s_client`.
    pub fn tls(address: SocketAddr, who: &Credentials, extra: &[&str]) -> Self {
        let mut openssl = command("openssl");
        openssl.args(["s_client", "-quiet", "-connect", &address.to_string(), "-servername", &dns(SERVER)]);
        openssl.args(files(who)).args(extra).stderr(Stdio::null());
        Self::program(openssl)
    }

    /// A plain connection.
    pub fn tcp(address: SocketAddr) -> Self {
        Self::try_tcp(address).unwrap()
    }

    /// A plain connection, which the other side may reset before it is seen to be there.
    pub fn try_tcp(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, DEADLINE)?;
        Ok(Self::new(None, stream.try_clone()?, Write::Socket(stream)))
    }

    pub fn program(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (output, input) = (child.stdout.take().unwrap(), child.stdin.take().unwrap());
        Self::new(Some(child), output, Write::Program(input))
    }

    fn new(child: Option<Child>, mut read: impl Read + Send + 'static, write: Write) -> Self {
        let heard = Arc::new(Mutex::new((Vec::new(), false)));
        let of_reader = heard.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 1 << 14];
            while let Ok(length @ 1..) = read.read(&mut buffer) {
                of_reader.lock().unwrap().0.extend_from_slice(&buffer[..length]);
            }
            of_reader.lock().unwrap().1 = true;
        });
        Self { child, write, heard, taken: 0 }
    }

    /// Whether it could still be written; that the other side has closed may show only later.
    pub fn say(&mut self, text: &str) -> bool {
        match &mut self.write {
            Write::Program(input) => input.write_all(text.as_bytes()).and_then(|()| input.flush()).is_ok(),
            Write::Socket(stream) => stream.write_all(text.as_bytes()).is_ok(),
            Write::Closed => false,
        }
    }

    /// Nothing more will be said.
    pub fn end(&mut self) {
        if let Write::Socket(stream) = &self.write {
            let _ = stream.shutdown(std::net::Shutdown::Write);
        }
        self.write = Write::Closed;
    }

    /// Waits for this text and takes everything up to its end; `None` if the connection closed first.
    #[track_caller]
    pub fn hear(&mut self, text: &str) -> Option<String> {
        within(DEADLINE, &format!("hearing {text:?}"), || {
            let heard = self.heard.lock().unwrap();
            let rest = &heard.0[self.taken..];
            let end =
                rest.windows(text.len()).position(|part| part == text.as_bytes()).map(|at| at + text.len());
            match end {
                Some(end) => Some(Some(String::from_utf8_lossy(&rest[..end]).into_owned())),
                None => heard.1.then_some(None),
            }
        })
        .inspect(|text| self.taken += text.len())
    }

    /// Everything that is said until the connection is closed.
    #[track_caller]
    pub fn rest(&mut self) -> String {
        self.wait_closed(DEADLINE);
        let heard = self.heard.lock().unwrap();
        let from = std::mem::replace(&mut self.taken, heard.0.len());
        String::from_utf8_lossy(&heard.0[from..]).into_owned()
    }

    /// Says a line and hears it back.
    #[track_caller]
    pub fn echoes(&mut self, line: &str) -> bool {
        self.say(&format!("{line}\n")) && self.hear(&format!("{line}\n")).is_some()
    }

    /// A line of JSON that a program printed.
    #[track_caller]
    pub fn line(&mut self) -> Value {
        let line = self.hear("\n").expect("the program prints a line");
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("not JSON: {line}"))
    }

    /// Asks over a kept connection; the response's head, or `None` if the connection is closed.
    #[track_caller]
    pub fn get(&mut self, path: &str) -> Option<String> {
        self.say(&format!("GET {path} HTTP/1.1\r\nhost: {}\r\n\r\n", dns(SERVER)));
        let head = self.hear("\r\n\r\n")?;
        let of_length = |line: &str| {
            line.to_ascii_lowercase().strip_prefix("content-length:").map(|l| l.trim().parse().unwrap())
        };
        let length: usize = head.lines().find_map(of_length).expect("a response with a length");
        within(DEADLINE, "a whole body", || {
            (self.heard.lock().unwrap().0.len() >= self.taken + length).then_some(())
        });
        self.taken += length;
        Some(head)
    }

    pub fn is_closed(&self) -> bool {
        self.heard.lock().unwrap().1
    }

    /// Stops the program, which then answers nothing, while the kernel goes on to acknowledge what is sent to it.
    pub fn freeze(&self) {
        let child = self.child.as_ref().unwrap().id();
        // Of `timeout`, which continues it to end it.
        let programs = fs::read_to_string(format!("/proc/{child}/task/{child}/children")).unwrap();
        for program in programs.split_whitespace() {
            kill_process(Pid::from_raw(program.parse().unwrap()).unwrap(), Signal::STOP).unwrap();
        }
    }

    #[track_caller]
    pub fn wait_closed(&self, deadline: Duration) {
        within(deadline, "the connection closed", || self.is_closed().then_some(()));
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.end();
        if let Some(child) = &mut self.child {
            // `timeout` hands this on to the program.
            let _ = kill_process(Pid::from_child(child), Signal::TERM);
            let _ = child.wait();
        }
    }
}
