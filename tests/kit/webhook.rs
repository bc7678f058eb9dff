//! A receiver of webhooks with a JSON body, over plain HTTP on loopback. It keeps what it was sent.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use serde_json::Value;

const MAX_BODY: usize = 1 << 20;

#[derive(Clone, Debug)]
pub struct Received {
    pub path: String,
    /// In lower case, with their values.
    pub headers: Vec<String>,
    pub body: Value,
}

pub struct Webhook {
    pub address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Webhook {
    /// `judge`: the status and the body of the answer.
    pub fn start(judge: impl Fn(&Received) -> (u16, String) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let webhook = Self { address: listener.local_addr().unwrap(), received: Arc::default() };
        let (received, judge) = (Arc::clone(&webhook.received), Arc::new(judge));
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (received, judge) = (Arc::clone(&received), Arc::clone(&judge));
                thread::spawn(move || answer(client, &received, judge.as_ref()));
            }
        });
        webhook
    }

    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn answer(
    client: TcpStream,
    received: &Mutex<Vec<Received>>,
    judge: &dyn Fn(&Received) -> (u16, String),
) -> io::Result<()> {
    let mut reader = BufReader::new(client);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        match header.trim_end() {
            "" => break,
            header => headers.push(header.to_ascii_lowercase()),
        }
    }
    let length: Option<usize> =
        headers.iter().find_map(|header| header.strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or_default().min(MAX_BODY)];
    reader.read_exact(&mut body)?;
    let request = Received { path, headers, body: serde_json::from_slice(&body)? };
    let (status, text) = judge(&request);
    received.lock().unwrap_or_else(PoisonError::into_inner).push(request);
    let head = format!("HTTP/1.1 {status} \r\ncontent-length: {}\r\nconnection: close\r\n\r\n", text.len());
    reader.get_mut().write_all([head.as_bytes(), text.as_bytes()].concat().as_slice())
}
