//! The app's side of an HTTP connection: connections to it that one client connection keeps for
//! its own requests, so that no two clients ever share one.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;

use crate::target::{AppUnreachable, Target};

/// A connection idle for longer is not trusted to be open still: apps close theirs after a few
/// seconds, and a request that crosses the close would be lost.
const REUSE_WITHIN: Duration = Duration::from_millis(1000);

pub struct App {
    target: Target,
    connect_within: Duration,
    idle: Mutex<Vec<(SendRequest<Incoming>, Instant)>>,
}

#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error(transparent)]
    Unreachable(#[from] AppUnreachable),
    #[error("the app at {0} gave no proper answer: {1}")]
    NoAnswer(Target, #[source] hyper::Error),
}

/// The app connection that answered; give it back once the answer's body is through.
pub struct Lease {
    app: Arc<App>,
    sender: SendRequest<Incoming>,
}

impl Lease {
    pub fn give_back(self) {
        self.app.idle().push((self.sender, Instant::now()));
    }
}

impl App {
    pub fn new(target: Target, connect_within: Duration) -> Arc<Self> {
        Arc::new(Self { target, connect_within, idle: Mutex::default() })
    }

    pub async fn send(
        self: &Arc<Self>,
        mut request: Request<Incoming>,
    ) -> Result<(Response<Incoming>, Lease), AppError> {
        while let Some(mut sender) = self.reuse() {
            if sender.ready().await.is_err() {
                continue;
            }
            match sender.try_send_request(request).await {
                Ok(response) => return Ok((response, self.lease(sender))),
                // Closed before it was sent: it comes back whole and goes out again.
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(AppError::NoAnswer(self.target.clone(), error.into_error())),
                },
            }
        }
        let mut sender = self.connect().await?;
        match sender.send_request(request).await {
            Ok(response) => Ok((response, self.lease(sender))),
            Err(error) => Err(AppError::NoAnswer(self.target.clone(), error)),
        }
    }

    fn reuse(&self) -> Option<SendRequest<Incoming>> {
        let mut idle = self.idle();
        idle.retain(|(_, since)| since.elapsed() < REUSE_WITHIN);
        idle.pop().map(|(sender, _)| sender)
    }

    async fn connect(&self) -> Result<SendRequest<Incoming>, AppError> {
        let stream = self.target.connect(self.connect_within).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| AppError::NoAnswer(self.target.clone(), error))?;
        tokio::spawn(connection);
        Ok(sender)
    }

    fn lease(self: &Arc<Self>, sender: SendRequest<Incoming>) -> Lease {
        Lease { app: Arc::clone(self), sender }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<(SendRequest<Incoming>, Instant)>> {
        self.idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
