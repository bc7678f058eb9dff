//! Apps that expect PROXY protocol: HAProxy and nginx, which answer HTTP with what they were told, and an echo service
//! that keeps every header and takes no byte for granted.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver as Channel, Sender, channel};
use std::thread;

use kit::{DEADLINE, until};
use tempfile::TempDir;

/// A server that is not ours.
pub struct Server {
    pub address: SocketAddr,
    child: Child,
    _folder: TempDir,
}

impl Server {
    pub fn haproxy(address: SocketAddr) -> Self {
        let told = "%[src] to %[dst]:%[dst_port] for %[fc_pp_authority]";
        let config = format!(
            "global
    maxconn 100
defaults
    mode http
    timeout client 60s
    timeout server 60s
    timeout connect 60s
frontend in
    bind {address} accept-proxy
    http-request return status 200 content-type text/plain lf-string \"{told}\"
"
        );
        Self::start(address, "haproxy.cfg", &config, |folder, config| {
            let mut command = Command::new("haproxy");
            command.current_dir(folder).args(["-db", "-q", "-f"]).arg(config);
            command
        })
    }

    pub fn nginx(address: SocketAddr) -> Self {
        let told = "$proxy_protocol_addr to $proxy_protocol_server_addr:$proxy_protocol_server_port";
        let config = format!(
            "daemon off; master_process off; pid pid; error_log stderr crit;
events {{}}
http {{
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server {{
        listen {address} proxy_protocol;
        location / {{ return 200 \"{told}\"; }}
    }}
}}
"
        );
        Self::start(address, "nginx.conf", &config, |folder, config| {
            let mut command = Command::new("nginx");
            command.args(["-e", "stderr", "-p"]).arg(folder).arg("-c").arg(config);
            command
        })
    }

    fn start(
        address: SocketAddr,
        file: &str,
        config: &str,
        command: impl FnOnce(&std::path::Path, &std::path::Path) -> Command,
    ) -> Self {
        let folder = TempDir::new().unwrap();
        let path = kit::pki::write(&folder.path().join(file), config);
        let mut command = command(folder.path(), &path);
        let program = command.get_program().to_owned();
        let child = command.stdin(Stdio::null()).spawn();
        let child =
            child.unwrap_or_else(|error| panic!("{program:?} ({error}): run the tests with ./tests/run"));
        let server = Self { address, child, _folder: folder };
        until(&format!("{program:?} listens on {address}"), || TcpStream::connect(address).ok());
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Says back what follows a header.
pub struct Receiver {
    pub address: SocketAddr,
    headers: Mutex<Channel<Header>>,
}

/// What a client was introduced with.
#[derive(Debug)]
pub struct Header {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub alpn: Option<String>,
    pub authority: Option<String>,
    pub ssl: Option<Ssl>,
    pub spiffe_id: Option<String>,
}

#[derive(Debug)]
pub struct Ssl {
    pub flags: u8,
    pub verify: u32,
    pub version: String,
    pub cipher: String,
    pub common_name: Option<String>,
    pub signature: Option<String>,
    pub key: Option<String>,
}

impl Default for Receiver {
    fn default() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, headers) = channel();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let sender = sender.clone();
                thread::spawn(move || serve(stream, &sender));
            }
        });
        Self { address, headers: Mutex::new(headers) }
    }
}

impl Receiver {
    /// The header of the next connection.
    #[track_caller]
    pub fn next(&self) -> Header {
        self.headers.lock().unwrap().recv_timeout(DEADLINE).expect("a whole and valid header")
    }
}

fn serve(mut stream: TcpStream, headers: &Sender<Header>) {
    let mut fixed = [0; 16];
    stream.read_exact(&mut fixed).unwrap();
    let mut rest = vec![0; usize::from(u16::from_be_bytes([fixed[14], fixed[15]]))];
    stream.read_exact(&mut rest).unwrap();
    let _ = headers.send(parse(fixed, rest));
    let mut buffer = vec![0; 1 << 16];
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
}

fn parse(fixed: [u8; 16], mut rest: Vec<u8>) -> Header {
    assert_eq!(fixed[..12], *b"\r\n\r\n\0\r\nQUIT\n");
    assert_eq!(fixed[12], 0x21, "version 2, PROXY");
    let header = [&fixed[..], &rest].concat();
    let addresses = rest.split_off(match fixed[13] {
        0x11 => 12,
        0x21 => 36,
        other => panic!("family and transport are {other:#x}"),
    });
    let (addresses, values) = (rest, Values::of(&addresses));
    let [from, to] = addresses_of(&addresses);
    values.assert_only(&[0x01, 0x02, 0x03, 0x20, 0xe0]);
    // The checksum is the last, and counts as zeros in itself.
    let sum = u32::from_be_bytes(values.bytes(0x03).expect("a checksum").try_into().unwrap());
    assert_eq!(sum, crc32c(&[&header[..header.len() - 4], &[0; 4]].concat()));
    Header {
        from,
        to,
        alpn: values.text(0x01),
        authority: values.text(0x02),
        ssl: values.bytes(0x20).map(ssl),
        spiffe_id: values.text(0xe0),
    }
}

fn ssl(bytes: &[u8]) -> Ssl {
    let (fixed, values) = bytes.split_at(5);
    let values = Values::of(values);
    values.assert_only(&[0x21, 0x22, 0x23, 0x24, 0x25]);
    Ssl {
        flags: fixed[0],
        verify: u32::from_be_bytes(fixed[1..].try_into().unwrap()),
        version: values.text(0x21).unwrap(),
        common_name: values.text(0x22),
        cipher: values.text(0x23).unwrap(),
        signature: values.text(0x24),
        key: values.text(0x25),
    }
}

fn addresses_of(bytes: &[u8]) -> [SocketAddr; 2] {
    let ip = |bytes: &[u8]| match bytes.len() {
        4 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).unwrap())),
        _ => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).unwrap())),
    };
    let (ips, ports) = bytes.split_at(bytes.len() - 4);
    let (from, to) = ips.split_at(ips.len() / 2);
    let port = |at: usize| u16::from_be_bytes([ports[at], ports[at + 1]]);
    [SocketAddr::new(ip(from), port(0)), SocketAddr::new(ip(to), port(2))]
}

/// Types and values, each type once.
struct Values(Vec<(u8, Vec<u8>)>);

impl Values {
    fn of(mut rest: &[u8]) -> Self {
        let mut values: Vec<(u8, Vec<u8>)> = Vec::new();
        while let Some((head, after)) = rest.split_first_chunk::<3>() {
            let (value, after) = after.split_at(usize::from(u16::from_be_bytes([head[1], head[2]])));
            assert!(values.iter().all(|(kind, _)| *kind != head[0]), "{:#x} is there twice", head[0]);
            assert!(!value.is_empty(), "{:#x} is empty", head[0]);
            values.push((head[0], value.to_vec()));
            rest = after;
        }
        assert!(rest.is_empty(), "bytes after the last value");
        Self(values)
    }

    fn assert_only(&self, known: &[u8]) {
        assert!(self.0.iter().all(|(kind, _)| known.contains(kind)), "{:x?}", self.0);
    }

    fn bytes(&self, kind: u8) -> Option<&[u8]> {
        self.0.iter().find(|(of, _)| *of == kind).map(|(_, value)| value.as_slice())
    }

    fn text(&self, kind: u8) -> Option<String> {
        self.bytes(kind).map(|value| String::from_utf8(value.to_vec()).unwrap())
    }
}

/// By a table, unlike the agent's.
fn crc32c(bytes: &[u8]) -> u32 {
    let table: Vec<u32> = (0..256u32)
        .map(|byte| {
            (0..8).fold(byte, |sum, _| if sum & 1 == 1 { (sum >> 1) ^ 0x82f6_3b78 } else { sum >> 1 })
        })
        .collect();
    !bytes.iter().fold(!0, |sum, byte| (sum >> 8) ^ table[((sum ^ u32::from(*byte)) & 0xff) as usize])
}
