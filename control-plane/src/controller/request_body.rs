//! Request bodies: each is reserved as a whole, by its declared length, out of one budget of memory, before its first
//! byte is read. The budget is shared between source addresses, so that bodies that do not arrive keep out nobody else's.

use std::net::IpAddr;
use std::ops::Deref;
use std::time::Duration;

use hotcert_tls::{Answering, FairLimiter, Place};
use http_body_util::BodyExt as _;
use hyper::StatusCode;
use hyper::body::{Body as _, Incoming};
use tokio::time::timeout;

use crate::api::duration;

/// Honest senders have sent their body by then, so that what is older gives way first when memory is short.
const GRACE: Duration = Duration::from_millis(250);
/// How long the body of a request that was answered already is read and dropped: a client that is still sending
/// would not receive the response.
const DRAIN: Duration = Duration::from_secs(1);

/// What the bodies of one listener may cost.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimits {
    /// Bytes of one.
    pub one: usize,
    /// Bytes of all together.
    pub all: usize,
    /// How long one may take to arrive.
    pub arrival: Duration,
}

/// Reads request bodies within limits.
pub struct Bodies {
    limits: BodyLimits,
    memory: FairLimiter,
}

/// A whole body, which counts towards the budget until it is dropped.
pub struct Body {
    bytes: Vec<u8>,
    _reserved: Option<(Place, Answering)>,
}

/// Why a request body could not be read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    #[error("the body is incomplete: {0}")]
    Incomplete(#[from] hyper::Error),
    #[error("the request did not arrive within {}", duration::format(*.0))]
    Timeout(Duration),
    #[error("too many requests are arriving: send it again in a moment")]
    NoMemory,
    #[error("the request arrived too slowly while others waited: send it again in a moment")]
    Displaced,
}

impl BodyError {
    pub fn status(&self) -> StatusCode {
        match self {
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Timeout(_) => StatusCode::REQUEST_TIMEOUT,
            Self::Incomplete(_) => StatusCode::BAD_REQUEST,
            Self::NoMemory | Self::Displaced => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// As a metric label.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::TooLarge(_) => "too_large",
            Self::Timeout(_) => "late",
            Self::Incomplete(_) => "broken",
            Self::NoMemory => "no_memory",
            Self::Displaced => "slow_body",
        }
    }
}

impl Deref for Body {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Body {
    /// In place of a body that nobody wants. What its client is still sending is dropped.
    pub fn unread(body: Incoming) -> Self {
        if !body.is_end_stream() {
            tokio::spawn(drain(body));
        }
        Self { bytes: Vec::new(), _reserved: None }
    }
}

impl Bodies {
    pub fn new(limits: BodyLimits) -> Self {
        Self { limits, memory: FairLimiter::with_grace(limits.all, GRACE) }
    }

    /// The whole body. One that is too large is still read to its end, because a client that is still sending would
    /// not receive the response; one for which there is no memory is answered at once.
    pub async fn read(&self, source: IpAddr, mut body: Incoming) -> Result<Body, BodyError> {
        let BodyLimits { one, arrival, .. } = self.limits;
        // Without a declared length it may become as large as any.
        let length =
            body.size_hint().exact().map_or(one, |length| usize::try_from(length).unwrap_or(usize::MAX));
        if length == 0 {
            return Ok(Body { bytes: Vec::new(), _reserved: None });
        }
        let reading = async {
            if length > one {
                drain(body).await;
                return Err(BodyError::TooLarge(one));
            }
            let Some(mut reserved) = self.memory.reserve(source, length) else {
                tokio::spawn(drain(body));
                return Err(BodyError::NoMemory);
            };
            let Some(read) = reserved.run(read_whole(&mut body, length)).await else {
                tokio::spawn(drain(body));
                return Err(BodyError::Displaced);
            };
            let bytes = match read {
                Ok(bytes) => bytes,
                Err(error) => {
                    drop(reserved);
                    drain(body).await;
                    return Err(error);
                }
            };
            let answering = reserved.activity().answer();
            Ok(Body { bytes, _reserved: Some((reserved, answering)) })
        };
        timeout(arrival, reading).await.unwrap_or(Err(BodyError::Timeout(arrival)))
    }
}

/// At most as long as was reserved.
async fn read_whole(body: &mut Incoming, reserved: usize) -> Result<Vec<u8>, BodyError> {
    // Memory that is not written to is not taken yet.
    let mut bytes = Vec::with_capacity(reserved);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        if bytes.len() + data.len() > reserved {
            return Err(BodyError::TooLarge(reserved));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

/// Reads what its client is still sending, for a while.
async fn drain(mut body: impl hyper::body::Body + Unpin) {
    let _ = timeout(DRAIN, async { while let Some(Ok(_)) = body.frame().await {} }).await;
}
