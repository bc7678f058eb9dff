//! An axum server over mTLS that picks up rotated certificates while it serves. It answers with the name of its
//! client, and ends the connections of clients whose root was removed.
//!
//! cargo run -p hotcert-tls --example axum_server -- /var/run/secrets/tls 127.0.0.1:8443

use std::error::Error;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::routing::get;
use axum::{Extension, Router};
use hotcert_tls::{Events, Peer, Reloader, ServerStream};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};

/// Between attempts while connections cannot be accepted.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(20);
/// What requests in flight have left when the client's root is removed.
const UNTRUSTED_GRACE: Duration = Duration::from_millis(500);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let mut args = std::env::args().skip(1);
    let (Some(directory), Some(listen)) = (args.next(), args.next()) else {
        return Err("usage: axum_server DIRECTORY ADDRESS:PORT".into());
    };
    let identities = Reloader::builder().directory(directory).start().await?;
    tokio::spawn(log(identities.subscribe()));

    let acceptor = identities.acceptor(["h2", "http/1.1"]);
    let app = Router::new().route("/", get(greet));
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
        let (acceptor, app) = (acceptor.clone(), app.clone());
        tokio::spawn(async move {
            match acceptor.accept_from(socket, from.ip()).await {
                Ok(stream) => {
                    // Or a client that leaves Nagle's algorithm on waits 40 ms before its first request.
                    let _ = stream.acknowledge();
                    serve(stream, app).await;
                }
                Err(error) => eprintln!("{from}: {error}"),
            }
        });
    }
}

async fn greet(Extension(client): Extension<Arc<Peer>>) -> String {
    format!("hello {}\n", client.names)
}

async fn serve(stream: ServerStream<TcpStream>, app: Router) {
    // Client certificates are required, so there is one.
    let Some(client) = stream.peer().cloned() else { return };
    let untrusted = stream.untrusted();
    let service = TowerToHyperService::new(app.layer(Extension(client)));
    let builder = Builder::new(TokioExecutor::new());
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
