//! A service that speaks plain HTTP/1.1 and tells what it was asked, on TCP or on a Unix socket.
//!
//! `/headers` what arrived, as JSON · `/trailers` what came after the body · `/digest` SHA-256 and length
//! of the request's body · `/bytes/N` N bytes with a length · `/chunked/N` N bytes without one ·
//! `/slow/N` N KiB, one every 100 ms · `/status/N` that status · `/wants/NAME/VALUE` 200 if that header came, else 400 ·
//! `/late/N` 200 after N ms · `/gated` one half at once, the other when `App::open_gate` was called.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody, channel::Channel};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::pki::hex;

/// Size of each half of `/gated`.
pub const HALF: usize = 64 << 10;

/// The service has no blocking task, so it stops at once.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

type Body = BoxBody<Bytes, Infallible>;

pub struct App {
    pub address: SocketAddr,
    gate: watch::Sender<bool>,
    requests: Arc<AtomicUsize>,
    runtime: Option<Runtime>,
}

impl Default for App {
    fn default() -> Self {
        Self::start(None)
    }
}

impl App {
    /// On this Unix socket too.
    pub fn unix(path: &Path) -> Self {
        Self::start(Some(path.into()))
    }

    /// On this address.
    pub fn at(address: SocketAddr) -> Self {
        Self::start_at(address, None)
    }

    fn start(path: Option<PathBuf>) -> Self {
        Self::start_at(([127, 0, 0, 1], 0).into(), path)
    }

    fn start_at(address: SocketAddr, path: Option<PathBuf>) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (gate, opened) = watch::channel(false);
        let requests = Arc::new(AtomicUsize::new(0));
        let state = State { opened, requests: requests.clone() };
        let tcp = runtime.block_on(TcpListener::bind(address)).unwrap();
        let address = tcp.local_addr().unwrap();
        let of_tcp = state.clone();
        runtime.spawn(async move {
            while let Ok((stream, _)) = tcp.accept().await {
                tokio::spawn(of_tcp.clone().serve(stream));
            }
        });
        if let Some(path) = path {
            let _inside = runtime.enter();
            let unix = UnixListener::bind(path).unwrap();
            runtime.spawn(async move {
                while let Ok((stream, _)) = unix.accept().await {
                    tokio::spawn(state.clone().serve(stream));
                }
            });
        }
        Self { address, gate, requests, runtime: Some(runtime) }
    }

    /// Lets every `/gated` go on.
    pub fn open_gate(&self) {
        self.gate.send_replace(true);
    }

    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    /// The service crashes: when this returns, its connections are cut and its port is closed.
    pub fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(STOP_TIMEOUT);
        }
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.stop();
    }
}

#[derive(Clone)]
struct State {
    opened: watch::Receiver<bool>,
    requests: Arc<AtomicUsize>,
}

impl State {
    async fn serve(self, stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin) {
        let service = service_fn(|request| {
            self.requests.fetch_add(1, Ordering::Relaxed);
            respond(request, self.opened.clone())
        });
        let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    }
}

async fn respond(
    request: Request<Incoming>,
    mut opened: watch::Receiver<bool>,
) -> Result<Response<Body>, hyper::Error> {
    let path = request.uri().path().to_owned();
    let (route, number) = path[1..].split_once('/').unwrap_or((&path[1..], "0"));
    let number: usize = number.parse().unwrap_or_default();
    Ok(match route {
        "digest" => {
            let (mut body, mut hash, mut length) = (request.into_body(), Sha256::new(), 0);
            while let Some(frame) = body.frame().await {
                if let Ok(data) = frame?.into_data() {
                    hash.update(&data);
                    length += data.len();
                }
            }
            whole(json!({ "sha256": hex(&hash.finalize()), "length": length }).to_string())
        }
        "trailers" => {
            let trailers = request.into_body().collect().await?.trailers().cloned().unwrap_or_default();
            whole(json!({ "headers": fields(&trailers) }).to_string())
        }
        "slow" => {
            let (mut sender, body) = Channel::<Bytes, Infallible>::new(2);
            tokio::spawn(async move {
                for piece in 0..number {
                    let _ = sender.send_data(pattern(piece << 10, 1 << 10)).await;
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            });
            Response::new(body.boxed())
        }
        "bytes" => {
            let mut response = Response::new(stream(number));
            response.headers_mut().insert("content-length", number.into());
            response
        }
        "chunked" => Response::new(stream(number)),
        "late" => {
            tokio::time::sleep(Duration::from_millis(number as u64)).await;
            whole("late".into())
        }
        "status" => Response::builder().status(number as u16).body(Full::default().boxed()).unwrap(),
        "wants" => {
            let (name, value) = path["/wants/".len()..].split_once('/').unwrap_or_default();
            let came = request.headers().get(name).is_some_and(|came| came == value);
            Response::builder().status(if came { 200 } else { 400 }).body(Full::default().boxed()).unwrap()
        }
        "gated" => {
            let (mut sender, body) = Channel::<Bytes, Infallible>::new(2);
            tokio::spawn(async move {
                let _ = sender.send_data(pattern(0, HALF)).await;
                let _ = opened.wait_for(|open| *open).await;
                let _ = sender.send_data(pattern(HALF, HALF)).await;
            });
            Response::new(body.boxed())
        }
        _ => {
            let headers = fields(request.headers());
            whole(json!({ "method": request.method().as_str(), "target": request.uri().to_string(), "headers": headers }).to_string())
        }
    })
}

fn fields(of: &HeaderMap) -> Vec<(&str, String)> {
    of.iter().map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes()).into())).collect()
}

fn whole(text: String) -> Response<Body> {
    Response::new(Full::new(Bytes::from(text)).boxed())
}

fn stream(length: usize) -> Body {
    const CHUNK: usize = 32 << 10;
    let chunks =
        (0..length).step_by(CHUNK).map(move |at| Ok(Frame::data(pattern(at, CHUNK.min(length - at)))));
    StreamBody::new(futures_util::stream::iter(chunks)).boxed()
}

/// Bytes that say where they belong, so that a lost or moved piece changes the digest.
pub fn pattern(from: usize, length: usize) -> Bytes {
    (from..from + length).map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8).collect()
}
