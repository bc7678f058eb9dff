//! A plain HTTP request to an agent on this machine, with a limit on the response.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::Request;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::api::duration;

const TIMEOUT: Duration = Duration::from_secs(5);
const MAX_BODY: usize = 4 << 20;

pub async fn get(address: SocketAddr, path: &str) -> Result<String, String> {
    let response = async {
        let socket = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket))
            .await
            .map_err(|error| error.to_string())?;
        tokio::spawn(connection);
        let request = Request::get(path).header("host", address.to_string()).body(Empty::<Bytes>::new());
        let request = request.map_err(|error| error.to_string())?;
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_BODY)
            .collect()
            .await
            .map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&body.to_bytes()).into_owned();
        if status.is_success() { Ok(text) } else { Err(format!("it responds with {status}")) }
    };
    match tokio::time::timeout(TIMEOUT, response).await {
        Ok(result) => result.map_err(|error| format!("{address}: {error}")),
        Err(_) => Err(format!("{address}: no response within {}", duration::format(TIMEOUT))),
    }
}
