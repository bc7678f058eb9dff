//! One request and its answer on the connection of a client.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::{Body as _, Frame};
use hyper::header::{HeaderMap, UPGRADE};
use hyper::{Method, Request, Response, StatusCode, Version};
use tokio::io::{AsyncRead, AsyncWrite};

use super::Malformed;
use super::answering::{self, Answer, answering};
use super::encode::{self, Encoder};
use super::feed::{Broken, Fed, Feed, expects_continue};
use super::framing::{self, Framing, Read};
use super::server::{Next, Server};
use crate::connection::memory::Chunk;
use crate::connection::tracker::CloseStage;
use crate::proxy::http::content::{BodyError, Content};
use crate::proxy::http::date;
use crate::proxy::http::interim::Interim;
use crate::proxy::http::response_body::ProxyBody;
use crate::proxy::http::upgraded::{Switch, upgrade};

/// Of a request, what its answer depends on.
struct Asked {
    method: Method,
    version: Version,
    /// Whether another request may follow.
    persists: bool,
}

/// How waiting for an answer ends.
enum Outcome<T> {
    Answer(T),
    Refused(Malformed),
    Gone,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Server<S> {
    pub(super) async fn exchange<R, F>(
        &mut self,
        mut request: Request<()>,
        read: Read,
        refuse: impl Fn(Malformed) -> Response<ProxyBody>,
        respond: R,
    ) -> Next
    where
        R: Fn(Request<Content>, Interim) -> F,
        F: Future<Output = Answer> + Send + 'static,
    {
        // Until its answer has been written.
        let _in_flight = self.tracked.as_ref().map(|tracked| tracked.begin_request());
        let (method, version) = (request.method().clone(), request.version());
        let asked = Asked { method, version, persists: read.persists };
        let is_latest = version == Version::HTTP_11;
        let (mut feed, content) = Feed::new(read.framing, is_latest && expects_continue(request.headers()));
        let mut switch = None;
        if asked.method == Method::CONNECT || is_latest && request.headers().contains_key(UPGRADE) {
            let (own, coming) = upgrade();
            request.extensions_mut().insert(coming);
            switch = Some(own);
        }
        // One of HTTP/1.0 takes no interim responses.
        let interim = if is_latest { self.interims.of(0) } else { Interim::none() };
        // Boxed, so that it is gone while the body of the response is sent.
        let mut response = answering(respond(request.map(|()| content), interim));
        let outcome = poll_fn(|cx| self.poll_answer(cx, response.get_pin(), &mut feed)).await;
        match &outcome {
            Outcome::Answer(_) => answering::keep(response),
            Outcome::Refused(_) | Outcome::Gone => drop(response),
        }
        match outcome {
            Outcome::Answer(Ok(response)) => {
                let switches = response.status() == StatusCode::SWITCHING_PROTOCOLS
                    || asked.method == Method::CONNECT && response.status().is_success();
                match switch.filter(|_| switches && feed.is_ended()) {
                    Some(switch) => self.switch(response, &asked, switch).await,
                    // Nobody was asked to switch.
                    None if switches => Next::Abort,
                    None => self.answer(response, &asked, &mut feed).await,
                }
            }
            Outcome::Refused(reason) => self.refuse(asked.method, refuse(reason)).await,
            // A reset is for HTTP/2.
            Outcome::Answer(Err(_)) | Outcome::Gone => Next::Abort,
        }
    }

    /// Answers what could not be read. What follows is not known to be a request.
    pub(super) async fn refuse(&mut self, method: Method, response: Response<ProxyBody>) -> Next {
        let asked = Asked { method, version: Version::HTTP_11, persists: false };
        match self.answer(response, &asked, &mut Feed::ended()).await {
            Next::Abort => Next::Abort,
            _ => Next::Linger,
        }
    }

    /// Waits for the answer, and gives it the body of the request meanwhile.
    fn poll_answer(
        &mut self,
        cx: &mut Context<'_>,
        mut response: Pin<&mut (dyn Future<Output = Answer> + Send)>,
        feed: &mut Feed,
    ) -> Poll<Outcome<Answer>> {
        loop {
            let answer = response.as_mut().poll(cx);
            self.take_interims(feed);
            if let Poll::Ready(answer) = answer {
                return Poll::Ready(Outcome::Answer(answer));
            }
            match self.poll_feed(cx, feed, false) {
                Ok(true) => continue,
                Ok(false) => {}
                Err(Broken::Malformed(reason)) => return Poll::Ready(Outcome::Refused(reason)),
                Err(Broken::Gone) => return Poll::Ready(Outcome::Gone),
            }
            let written = self.output.poll_flush(cx, &mut self.stream);
            if matches!(written, Poll::Ready(Err(_))) || self.stage(cx) == CloseStage::Cut {
                return Poll::Ready(Outcome::Gone);
            }
            if self.is_given_up(cx) {
                return Poll::Ready(Outcome::Gone);
            }
            return Poll::Pending;
        }
    }

    fn take_interims(&mut self, feed: &mut Feed) {
        while let Some(interim) = self.interims.take(0) {
            if interim.status() == StatusCode::CONTINUE {
                feed.awaits_continue = false;
                if std::mem::take(&mut feed.said_continue) {
                    continue;
                }
            }
            encode::interim_head(self.output.buffer(), interim.status(), interim.headers());
        }
    }

    /// Whether there is something new to take for what is polled in this task.
    fn poll_feed(&mut self, cx: &mut Context<'_>, feed: &mut Feed, discard: bool) -> Result<bool, Broken> {
        loop {
            match feed.poll(cx, &mut self.input, &mut self.stream, discard)? {
                Fed::Given => return Ok(true),
                Fed::Passed => {}
                Fed::Waiting => return Ok(false),
                Fed::Continue if self.output.has_room() => {
                    (feed.awaits_continue, feed.said_continue) = (false, true);
                    encode::interim_head(self.output.buffer(), StatusCode::CONTINUE, &HeaderMap::new());
                }
                Fed::Continue => return Ok(false),
            }
        }
    }

    /// Writes the answer after which the connection carries bytes.
    async fn switch(&mut self, response: Response<ProxyBody>, asked: &Asked, switch: Switch) -> Next {
        let (head, _) = response.into_parts();
        let connection = match asked.method {
            Method::CONNECT => encode::Connection::Implicit,
            _ => encode::Connection::Upgrade,
        };
        encode::response_head(self.output.buffer(), &head, Framing::None, None, connection);
        match poll_fn(|cx| self.output.poll_flush(cx, &mut self.stream)).await {
            Ok(()) => Next::Switch(switch),
            Err(_) => Next::Abort,
        }
    }

    /// Writes an answer, and reads what is left of its request.
    async fn answer(&mut self, response: Response<ProxyBody>, asked: &Asked, feed: &mut Feed) -> Next {
        let (mut head, mut body) = response.into_parts();
        let declared = framing::length(&head.headers, false).ok().flatten();
        let framing = framing::to_write_response(&asked.method, asked.version, head.status, declared, &body);
        let stage = self.tracked.as_ref().map_or(CloseStage::None, |tracked| tracked.close_stage());
        let goes_on = asked.persists
            && framing != Framing::UntilClose
            && stage < CloseStage::LastRequest
            && !self.input.ended
            && !feed.is_too_much();
        if feed.awaits_continue {
            // There is no 100 after a final response.
            feed.give_up();
        }
        let connection = match goes_on {
            false => encode::Connection::Close,
            true if asked.version == Version::HTTP_11 => encode::Connection::Implicit,
            true => encode::Connection::KeepAlive,
        };
        date::add(&mut head.headers);
        encode::response_head(self.output.buffer(), &head, framing, declared, connection);
        drop(head);
        let done = framing == Framing::None || body.is_end_stream();
        let mut writing = Writing { encoder: Encoder::new(framing), done, failed: false };
        let written = poll_fn(|cx| self.poll_body(cx, Pin::new(&mut body), &mut writing, feed)).await;
        drop(body);
        match written {
            Err(()) => return Next::Abort,
            Ok(()) if feed.is_ended() => {}
            // The client takes the end of the connection for that of the response.
            Ok(()) if framing == Framing::UntilClose || feed.is_too_much() => return Next::Linger,
            Ok(()) => match Box::pin(self.read_rest(feed)).await {
                Next::Request if goes_on => return Next::Request,
                Next::Abort => return Next::Abort,
                _ => return Next::Linger,
            },
        }
        match goes_on {
            true => Next::Request,
            false if self.input.bytes.is_empty() => Next::Close,
            false => Next::Linger,
        }
    }

    /// Fails when the answer cannot be written whole.
    fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        mut body: Pin<&mut ProxyBody>,
        writing: &mut Writing,
        feed: &mut Feed,
    ) -> Poll<Result<(), ()>> {
        loop {
            let mut waits = false;
            while !waits && !writing.done && self.output.has_room() {
                match body.as_mut().poll_frame(cx) {
                    Poll::Pending => waits = true,
                    Poll::Ready(frame) => {
                        self.patience = None;
                        let last = body.is_end_stream();
                        if self.encode(frame, last, writing).is_err() {
                            // What came before is passed on.
                            (writing.done, writing.failed) = (true, true);
                        }
                    }
                }
            }
            let written = self.output.poll_flush(cx, &mut self.stream);
            if matches!(written, Poll::Ready(Err(_))) || self.stage(cx) == CloseStage::Cut {
                return Poll::Ready(Err(()));
            }
            if written.is_ready() && writing.done {
                return Poll::Ready(if writing.failed { Err(()) } else { Ok(()) });
            }
            // What is wrong with the request is too late to be said.
            let fed = self.poll_feed(cx, feed, false).map_err(|_| ())?;
            if !fed && (waits || written.is_pending()) {
                return if self.is_given_up(cx) { Poll::Ready(Err(())) } else { Poll::Pending };
            }
        }
    }

    fn encode(
        &mut self,
        frame: Option<Result<Frame<Chunk>, BodyError>>,
        last: bool,
        writing: &mut Writing,
    ) -> Result<(), ()> {
        let Writing { encoder, done, .. } = writing;
        *done = last;
        let encoded = match frame.transpose().map_err(|_| ())?.map(Frame::into_data) {
            Some(Ok(data)) => encoder.data(data, last, &mut self.output),
            Some(Err(frame)) => {
                *done = true;
                encoder.end(frame.trailers_ref(), &mut self.output)
            }
            None => {
                *done = true;
                encoder.end(None, &mut self.output)
            }
        };
        encoded.map_err(|_| ())
    }

    /// The request was answered before all of it was read: who takes it goes on, and what nobody takes is discarded.
    async fn read_rest(&mut self, feed: &mut Feed) -> Next {
        // It is no request that is slow to come.
        let _in_flight = self.tracked.as_ref().map(|tracked| tracked.begin_request());
        poll_fn(|cx| {
            match self.poll_rest(cx, feed) {
                Ok(()) if feed.is_ended() => return Poll::Ready(Next::Request),
                Ok(()) if feed.is_too_much() => return Poll::Ready(Next::Linger),
                Ok(()) => {}
                Err(Broken::Malformed(_)) => return Poll::Ready(Next::Linger),
                Err(Broken::Gone) => return Poll::Ready(Next::Abort),
            }
            let written = self.output.poll_flush(cx, &mut self.stream);
            if matches!(written, Poll::Ready(Err(_))) || self.stage(cx) == CloseStage::Cut {
                return Poll::Ready(Next::Abort);
            }
            Poll::Pending
        })
        .await
    }

    /// Reads as long as something is wanted. What asked for a piece in this task when the answer was awaited asks in
    /// another one now.
    fn poll_rest(&mut self, cx: &mut Context<'_>, feed: &mut Feed) -> Result<(), Broken> {
        while self.poll_feed(cx, feed, true)? {}
        Ok(())
    }
}

/// The body of an answer on its way.
struct Writing {
    encoder: Encoder,
    /// Nothing more is taken of the body.
    done: bool,
    /// It ended too early.
    failed: bool,
}
