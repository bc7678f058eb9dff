//! A gRPC server (tonic) over mTLS that picks up rotated certificates while it serves. It offers the standard
//! health service, and ends the connections of clients whose root was removed.
//!
//! cargo run -p hotcert-tls --example tonic_server -- /var/run/secrets/tls 127.0.0.1:8443

use std::error::Error;
use std::pin::pin;
use std::time::Duration;

use hotcert_tls::{Events, Reloader, ServerStream};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tonic::service::Routes;

/// Between attempts while connections cannot be accepted.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(20);
/// What requests in flight have left when the client's root is removed.
const UNTRUSTED_GRACE: Duration = Duration::from_millis(500);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let mut args = std::env::args().skip(1);
    let (Some(directory), Some(listen)) = (args.next(), args.next()) else {
        return Err("usage: tonic_server DIRECTORY ADDRESS:PORT".into());
    };
    let identities = Reloader::builder().directory(directory).start().await?;
    tokio::spawn(log(identities.subscribe()));

    // gRPC requires HTTP/2, and clients insist on it in ALPN.
    let acceptor = identities.acceptor(["h2"]);
    let (_reporter, health) = tonic_health::server::health_reporter();
    let routes = Routes::new(health);
    let listener = TcpListener::bind(listen).await?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        let (socket, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Such as a lack of file descriptors, which passes.
                eprintln!("cannot accept: {error}");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
                continue;
            }
        };
        let (acceptor, routes) = (acceptor.clone(), routes.clone());
        tokio::spawn(async move {
            match acceptor.accept_from(socket, from.ip()).await {
                Ok(stream) => {
                    // Or a client that leaves Nagle's algorithm on waits 40 ms before its first request.
                    let _ = stream.acknowledge();
                    serve(stream, routes).await;
                }
                Err(error) => eprintln!("{from}: {error}"),
            }
        });
    }
}

async fn serve(stream: ServerStream<TcpStream>, routes: Routes) {
    let untrusted = stream.untrusted();
    let builder = Builder::new(TokioExecutor::new()).http2_only();
    let service = TowerToHyperService::new(routes);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        _ = connection.as_mut() => {}
        () = untrusted => {
            connection.as_mut().graceful_shutdown();
            let _ = tokio::time::timeout(UNTRUSTED_GRACE, connection).await;
        }
    }
}

async fn log(mut events: Events) {
    while let Some(event) = events.next().await {
        println!("{event}");
    }
}
