//! gRPC client and server of tonic, as `tests/clients/grpc/README.md` describes them. Nothing of ours is in here: they
//! stand for a service that nobody adapted.
#![allow(clippy::print_stderr)]

mod behaviour;
mod client;
mod codec;
mod server;

use std::path::PathBuf;

use anyhow::bail;

/// The service that both know.
const SERVICE: &str = "hotcert.test.Calls";
/// The name in the server's certificate.
const SERVER: &str = "payments.shop.svc";
const FAILURE: &str = "abgelaufen: 証明書 100 % ✓";
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

/// Every byte there is.
fn details() -> Vec<u8> {
    (0..=255).collect()
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["server"] => server::serve(None).await,
        ["server", directory] => server::serve(Some(PathBuf::from(directory))).await,
        ["client", target, behaviour] => client::call(target, behaviour.parse()?, None).await,
        ["client", target, behaviour, directory] => {
            client::call(target, behaviour.parse()?, Some(PathBuf::from(directory))).await
        }
        _ => bail!("usage: tonic server [DIRECTORY] | tonic client TARGET BEHAVIOUR [DIRECTORY]"),
    }
}
