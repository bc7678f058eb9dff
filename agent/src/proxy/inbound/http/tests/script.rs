//! An app that answers as it is told, byte for byte, and a client that reads what comes.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use super::{Agent, DEADLINE};

/// What the app does when a head has come.
#[derive(Clone)]
pub enum Step {
    Say(&'static str),
    /// Reads so many bytes of the body.
    Read(usize),
    /// Reads up to these bytes.
    ReadTo(&'static str),
    Close,
}

/// An app that takes the same steps for each request.
pub struct Script {
    pub address: SocketAddr,
    /// By connection, in order.
    heard: Arc<Mutex<Vec<String>>>,
}

impl Script {
    pub async fn start(steps: &[Step]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard: Arc<Mutex<Vec<String>>> = Arc::default();
        let (of_app, steps) = (Arc::clone(&heard), steps.to_vec());
        tokio::spawn(async move {
            for connection in 0.. {
                let (socket, _) = listener.accept().await.unwrap();
                of_app.lock().unwrap().push(String::new());
                tokio::spawn(play(socket, connection, steps.clone(), Arc::clone(&of_app)));
            }
        });
        Self { address, heard }
    }

    pub async fn says(answer: &'static str) -> Self {
        Self::start(&[Step::Say(answer)]).await
    }

    pub fn agent(&self) -> Agent {
        Agent::new(&self.address.to_string(), &[])
    }

    /// What came on each connection.
    pub fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

async fn play(mut socket: TcpStream, connection: usize, steps: Vec<Step>, heard: Arc<Mutex<Vec<String>>>) {
    let read_to = async |end: &[u8], most: usize, socket: &mut TcpStream| {
        let mut all = Vec::new();
        while all.len() < most && (end.is_empty() || !all.ends_with(end)) {
            let Ok(byte) = socket.read_u8().await else { return false };
            all.push(byte);
            heard.lock().unwrap()[connection].push(byte.into());
        }
        true
    };
    while read_to(b"\r\n\r\n", usize::MAX, &mut socket).await {
        for step in &steps {
            match step {
                Step::Say(text) => socket.write_all(text.as_bytes()).await.unwrap(),
                Step::Read(count) => _ = read_to(b"", *count, &mut socket).await,
                Step::ReadTo(end) => _ = read_to(end.as_bytes(), usize::MAX, &mut socket).await,
                Step::Close => {
                    let _ = socket.shutdown().await;
                    return;
                }
            }
        }
    }
}

pub struct Client(pub TlsStream<TcpStream>);

impl Client {
    pub async fn new(agent: &Agent) -> Self {
        Self(agent.client().await)
    }

    pub async fn say(&mut self, text: impl AsRef<[u8]>) {
        let said = timeout(DEADLINE, self.0.write_all(text.as_ref())).await;
        said.expect("what is said is taken before the deadline").unwrap();
    }

    /// What comes up to these bytes.
    pub async fn hear(&mut self, end: &str) -> String {
        let mut all = Vec::new();
        let reading = async {
            while !all.ends_with(end.as_bytes()) {
                match self.0.read_u8().await {
                    Ok(byte) => all.push(byte),
                    Err(_) => break,
                }
            }
        };
        let ended = timeout(DEADLINE, reading).await;
        let all = String::from_utf8(all).unwrap();
        assert!(ended.is_ok() && all.ends_with(end), "no {end:?} in {all:?}");
        all
    }

    /// What comes up to the end of the stream, whether it is said to be one, and no error.
    pub async fn rest(&mut self) -> (String, bool) {
        let mut all = Vec::new();
        let end = timeout(DEADLINE, self.0.read_to_end(&mut all)).await.expect("an end before the deadline");
        (String::from_utf8(all).unwrap(), end.is_ok())
    }
}
