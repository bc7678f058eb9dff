//! A request on its way to the app or a server: its head, and its body as it comes.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body as _, Frame};
use tokio::io::AsyncWrite;
use tokio::time::{Sleep, sleep};

use super::Error;
use super::encode::Encoder;
use super::framing::Framing;
use super::output::Output;
use crate::proxy::http::content::BodyError;
use crate::proxy::http::request_body::RequestBody;

/// A server that knows nothing of `Expect` gets the body after this, as it would from curl.
const CONTINUE_WITHIN: Duration = Duration::from_secs(1);

pub struct Upload {
    pub output: Output<Bytes>,
    body: RequestBody,
    encoder: Encoder,
    /// Until then the body waits for a 100.
    wait: Option<Pin<Box<Sleep>>>,
    /// Nothing more is taken of the body.
    done: bool,
    /// Some of it was taken, or of the head was written.
    begun: bool,
    /// The other side takes no more of it. It may have answered all the same.
    failed: Option<io::Error>,
}

impl Upload {
    /// `output` has the head.
    pub fn new(output: Output<Bytes>, body: RequestBody, framing: Framing, waits: bool) -> Self {
        let done = body.is_end_stream();
        let wait = (waits && !done).then(|| Box::pin(sleep(CONTINUE_WITHIN)));
        Self { output, body, encoder: Encoder::new(framing), wait, done, begun: false, failed: None }
    }

    /// Sends what there is to send. Fails if the rest of the body does not come; that the other side takes no more of it is
    /// for the response to say.
    pub fn poll<S: AsyncWrite + Unpin>(&mut self, cx: &mut Context<'_>, stream: &mut S) -> Result<(), Error> {
        while self.failed.is_none() {
            let mut waits = false;
            while !waits && !self.done && self.output.has_room() {
                waits = self.poll_body(cx)?.is_pending();
            }
            match self.output.poll_flush(cx, stream) {
                Poll::Pending => {
                    self.begun |= self.output.is_begun();
                    return Ok(());
                }
                Poll::Ready(Ok(())) => self.begun = true,
                Poll::Ready(Err(error)) => {
                    self.begun |= self.output.is_begun();
                    self.failed = Some(error);
                }
            }
            if waits || self.done {
                return Ok(());
            }
        }
        Ok(())
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, Error> {
        if let Some(wait) = &mut self.wait {
            if wait.as_mut().poll(cx).is_pending() {
                return Ok(Poll::Pending);
            }
            self.wait = None;
        }
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Pending => Ok(Poll::Pending),
            Poll::Ready(frame) => {
                self.begun = true;
                self.encode(frame)?;
                Ok(Poll::Ready(()))
            }
        }
    }

    fn encode(&mut self, frame: Option<Result<Frame<Bytes>, BodyError>>) -> Result<(), Error> {
        let last = self.body.is_end_stream();
        let frame = frame.transpose().map_err(|error| Error::Request(Box::new(error)))?;
        self.done = last;
        match frame.map(Frame::into_data) {
            Some(Ok(data)) => self.encoder.data(data, last, &mut self.output)?,
            Some(Err(frame)) => {
                self.done = true;
                self.encoder.end(frame.trailers_ref(), &mut self.output)?;
            }
            None => {
                self.done = true;
                self.encoder.end(None, &mut self.output)?;
            }
        }
        Ok(())
    }

    /// The other side wants the body.
    pub fn go_on(&mut self) {
        self.wait = None;
    }

    /// Whether all of it was sent.
    pub fn is_done(&self) -> bool {
        self.done && self.failed.is_none() && self.output.is_flushed()
    }

    /// Whether no more of it will be sent, once there is a response. A body that still waits for a 100 is not wanted then.
    pub fn has_ended(&self) -> bool {
        self.failed.is_some() || self.wait.is_some() || self.is_done()
    }

    /// Why it was not taken.
    pub fn take_failure(&mut self) -> Option<io::Error> {
        self.failed.take()
    }

    /// The body, if nothing of the request was sent.
    pub fn unsent(self) -> Option<RequestBody> {
        (!self.begun).then_some(self.body)
    }
}
