//! The connections of an admin listener: bounded, and shared between sources. One whose request is being
//! answered does not give way to those that have not asked.

use std::net::SocketAddr;

use bytes::Bytes;
use hotcert_tls::FairLimiter;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Request, Response};
use tokio::net::TcpStream;

use super::http::serve_http;
use super::refusals::{ListenerRefusals, Refusal, Refusals};

/// Enough for kubelet's probes and a few scrapers.
const MAX_CONNECTIONS: usize = 64;

pub struct AdminConnections {
    limiter: FairLimiter,
    refusals: ListenerRefusals,
}

impl AdminConnections {
    pub fn new(refusals: &Refusals) -> Self {
        Self { limiter: FairLimiter::new(MAX_CONNECTIONS), refusals: refusals.of("admin") }
    }

    pub async fn serve<A>(&self, socket: TcpStream, from: SocketAddr, answer: A)
    where
        A: Fn(&Request<Incoming>) -> Response<Full<Bytes>>,
    {
        let Some(mut place) = self.limiter.place(from.ip()) else {
            return self.refusals.connection(Refusal::NoPlace);
        };
        let activity = place.activity();
        let served = serve_http(socket, |request| {
            let _answering = activity.answer();
            std::future::ready(answer(&request))
        });
        if place.run(served).await.is_none() {
            self.refusals.connection(Refusal::Displaced);
        }
    }
}
