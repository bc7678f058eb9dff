//! The app behind the agent: quick, slow, silent or endless, as the path says.

use std::convert::Infallible;
use std::future::pending;
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
use tokio::net::TcpSocket;

use crate::attacker::on_runtime;

/// What is none of these is answered at once. After 200 ms: what a health check that asks a database takes.
pub const SLOW: &str = "/slow";
/// Not at all.
pub const NEVER: &str = "/never";
/// With zeros, for as long as the connection lasts.
pub const ENDLESS: &str = "/endless";

const BACKLOG: u32 = 4096;
static ZEROS: [u8; 16 << 10] = [0; 16 << 10];

/// On a thread of its own until the program ends; its address.
pub fn start() -> SocketAddr {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        on_runtime(async {
            let socket = TcpSocket::new_v4()?;
            socket.bind("127.0.0.1:0".parse().expect("an address"))?;
            // Rather than `TcpListener::bind`, whose backlog is short.
            let listener = socket.listen(BACKLOG)?;
            let _ = sender.send(listener.local_addr()?);
            loop {
                // Descriptors may run out, which ends.
                let Ok((stream, _)) = listener.accept().await else {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                };
                let serving =
                    http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(respond));
                tokio::spawn(serving);
            }
        })
    });
    receiver.recv().expect("the app listens")
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
