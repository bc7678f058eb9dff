//! The app behind the agent: quick, slow, silent or endless, as the path says. What attackers ask for is answered by
//! a thread of its own at low priority, so that the honest client waits for the agent alone and not for the app.

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustix::process::nice;
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Handle;

use crate::attacker::{self, on_runtime};

/// What is none of these is answered at once. After 200 ms: what a health check that asks a database takes.
pub const SLOW: &str = "/slow";
/// Not at all.
pub const NEVER: &str = "/never";
/// With zeros, for as long as the connection lasts.
pub const ENDLESS: &str = "/endless";

const BACKLOG: u32 = 4096;
static ZEROS: [u8; 16 << 10] = [0; 16 << 10];

/// On threads of its own until the program ends; its address.
pub fn start() -> SocketAddr {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let hostile = runtime_of_hostile_requests();
        on_runtime(async {
            let socket = TcpSocket::new_v4()?;
            socket.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
            // Rather than `TcpListener::bind`, whose backlog is short.
            let listener = socket.listen(BACKLOG)?;
            let _ = sender.send(listener.local_addr()?);
            loop {
                // Descriptors may run out, which ends.
                let Ok((stream, _)) = listener.accept().await else {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                };
                tokio::spawn(serve(stream, hostile.clone()));
            }
        })
    });
    receiver.recv().expect("the app listens")
}

fn runtime_of_hostile_requests() -> Handle {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        // Of this thread alone.
        let _ = nice(attacker::NICE);
        on_runtime(async {
            let _ = sender.send(Handle::current());
            pending().await
        })
    });
    receiver.recv().expect("a runtime")
}

/// The agent keeps a connection for the client that it was opened for: its first request says whose it is.
async fn serve(stream: TcpStream, hostile: Handle) -> io::Result<()> {
    let mut first = [0; 64];
    let count = stream.peek(&mut first).await?;
    let target = String::from_utf8_lossy(&first[..count]);
    if [NEVER, ENDLESS].iter().any(|path| target.contains(path)) {
        let stream = stream.into_std()?;
        hostile.spawn(async move { answer(TcpStream::from_std(stream)?).await });
        return Ok(());
    }
    answer(stream).await
}

async fn answer(stream: TcpStream) -> io::Result<()> {
    let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(respond)).await;
    served.map_err(io::Error::other)
}

async fn respond(request: Request<Incoming>) -> Result<Response<BoxBody<Bytes, Infallible>>, Infallible> {
    match request.uri().path() {
        SLOW => tokio::time::sleep(Duration::from_millis(200)).await,
        NEVER => pending().await,
        ENDLESS => {
            let zeros = futures_util::stream::repeat_with(|| Ok(Frame::data(Bytes::from_static(&ZEROS))));
            return Ok(Response::new(StreamBody::new(zeros).boxed()));
        }
        _ => {}
    }
    Ok(Response::new(Full::new(Bytes::from_static(b"ok")).boxed()))
}
