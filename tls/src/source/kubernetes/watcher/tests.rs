//! What is logged of a response that cannot be parsed.

#![allow(clippy::unwrap_used)]

use std::io;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::fixtures::DEADLINE;

const SECRET: &str = "the-private-key";

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Answers a list, and then a watch, with `list` and `watch`.
async fn api_server(list: &'static str, watch: &'static str) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(socket.read_u8().await?);
                }
                let body = if String::from_utf8_lossy(&head).contains("watch=true") { watch } else { list };
                let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n";
                socket.write_all(format!("{head}{body}\n").as_bytes()).await
            });
        }
    });
    address
}

#[tokio::test]
async fn response_that_cannot_be_parsed_is_not_logged() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let empty = r#"{"metadata": {"resourceVersion": "1"}, "items": []}"#;
    let broken = r#"{"type": "ADDED", "object": {"data": {"tls.key": "the-private-key"}"#;
    for (list, watch) in [(r#"{"items": [{"data": {"tls.key": "the-private-key"}"#, ""), (empty, broken)] {
        let address = api_server(list, watch).await;
        let kubeconfig = tempfile::NamedTempFile::new().unwrap();
        let config = format!(
            "{{clusters: [{{name: c, cluster: {{server: 'http://{address}'}}}}], users: [{{name: u, user: {{}}}}], \
             contexts: [{{name: x, context: {{cluster: c, user: u}}}}], current-context: x}}"
        );
        std::fs::write(kubeconfig.path(), config).unwrap();
        let watcher = SecretWatcher {
            secret: "shop/payments-tls".parse().unwrap(),
            layout: Layout::default(),
            kubeconfig: Some(kubeconfig.path().to_owned()),
            silence: DEADLINE,
        };
        let mut state = watcher.start();
        let lost = state.wait_for(|state| matches!(state.state, ApiState::Lost(_)));
        tokio::time::timeout(DEADLINE, lost).await.unwrap().unwrap();
    }
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("cannot be watched"), "the errors themselves are logged: {log}");
    assert!(!log.contains(SECRET), "{log}");
}
