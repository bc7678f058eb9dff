//! The content of a request or a response, by where it comes from.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use super::h2_stream::Download;
use super::http1;

pub enum Content {
    Http1Request(http1::Incoming),
    Http1Response(http1::ResponseBody),
    Http2(Download),
    /// Of the agent itself, in one piece or empty.
    Own(Option<Bytes>),
}

/// Why a content ended early.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    #[error(transparent)]
    Http1(http1::Error),
    #[error("{0}")]
    Http2(#[source] h2::Error),
}

impl BodyError {
    /// The reason, if the sender has reset the stream, or its connection has ended with one.
    pub fn reset_reason(&self) -> Option<h2::Reason> {
        match self {
            Self::Http1(_) => None,
            Self::Http2(error) => error.reason(),
        }
    }

    /// Whether the sender has reset this stream alone.
    pub fn is_reset(&self) -> bool {
        matches!(self, Self::Http2(error) if error.is_reset())
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Poll::Ready(match self.get_mut() {
            Self::Http1Request(body) => {
                ready!(Pin::new(body).poll_frame(cx)).map(|frame| frame.map_err(BodyError::Http1))
            }
            Self::Http1Response(body) => {
                ready!(Pin::new(body).poll_frame(cx)).map(|frame| frame.map_err(BodyError::Http1))
            }
            Self::Http2(body) => {
                ready!(Pin::new(body).poll_frame(cx)).map(|frame| frame.map_err(BodyError::Http2))
            }
            Self::Own(bytes) => bytes.take().map(|bytes| Ok(Frame::data(bytes))),
        })
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1Response(body) => body.is_end_stream(),
            Self::Http1Request(body) => body.is_end_stream(),
            Self::Http2(body) => body.is_end_stream(),
            Self::Own(bytes) => bytes.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1Response(body) => body.size_hint(),
            Self::Http1Request(body) => body.size_hint(),
            Self::Http2(_) => SizeHint::default(),
            Self::Own(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
        }
    }
}
