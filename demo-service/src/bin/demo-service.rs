//! The microservice as a program: serves plain HTTP, or gRPC, until SIGTERM.

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Parser;
use demo_service::service::{Config, bind_problem, listen_address, log, serve};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// A microservice that speaks plain HTTP or gRPC and knows nothing of TLS
///
/// GET / returns JSON with its name and its upstream's response, or 502 with the reason if the upstream fails.
/// GET /healthz returns ok. POST /echo returns the body it was sent. With --grpc, hotcert.demo.Demo/Call returns
/// its name and its upstream's response, and grpc.health.v1.Health says that it serves.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// Address to listen on
    #[arg(long, env = "DEMO_LISTEN", value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080", value_parser = listen_address)]
    listen: SocketAddr,
    #[command(flatten)]
    config: Config,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Cli { listen, config } = Cli::parse();
    match run(listen, config).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log(format_args!("cannot listen on {listen}: {}", bind_problem(&error)));
            ExitCode::FAILURE
        }
    }
}

async fn run(listen: SocketAddr, config: Config) -> io::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let listener = TcpListener::bind(listen).await?;
    log(format_args!("{} listens on {}", config.name, listener.local_addr()?));
    serve(listener, config, async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
    .await;
    Ok(())
}
