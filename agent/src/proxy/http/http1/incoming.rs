//! The body of a request on its way from the task of its connection, which reads it, to whoever passes it on. One piece
//! at a time, and none that was not asked for: what is not taken is not read.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use hyper::HeaderMap;
use hyper::body::{Body, Frame, SizeHint};

use super::Error;
use super::chunked::Part;

/// The body of a request, as it is taken.
pub struct Incoming {
    shared: Arc<Mutex<Shared>>,
    ended: bool,
    /// If that is known.
    left: Option<u64>,
}

/// The connection's side of [`Incoming`]. Dropped before the end, it says that there will be no more.
pub struct Sender {
    shared: Arc<Mutex<Shared>>,
    ended: bool,
}

#[derive(Default)]
struct Shared {
    next: Option<Next>,
    wanted: bool,
    /// By the connection, before the end.
    broken: bool,
    /// By who takes it.
    dropped: bool,
    /// Who waits for a piece.
    taker: Option<Waker>,
    /// Who waits for a piece to be wanted.
    giver: Option<Waker>,
}

enum Next {
    Data {
        data: Bytes,
        last: bool,
    },
    Trailers(HeaderMap),
    End,
    /// Boxed, because it is rare.
    Failed(Box<Error>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// A piece, now.
    Piece,
    /// None for now.
    Nothing,
    /// None any more.
    Dropped,
}

/// A body of `length`, if that is known.
pub fn incoming(length: Option<u64>) -> (Sender, Incoming) {
    let shared: Arc<Mutex<Shared>> = Arc::default();
    (Sender { shared: Arc::clone(&shared), ended: false }, Incoming { shared, ended: false, left: length })
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Wakes a task other than that of `cx`; whether it is the same one.
fn wake_other(waker: Option<Waker>, cx: &Context<'_>) -> bool {
    let Some(waker) = waker else { return false };
    let same = waker.will_wake(cx.waker());
    if !same {
        waker.wake();
    }
    same
}

impl Sender {
    /// What is wanted. Unless it is a piece, the task of `cx` is woken when that changes.
    pub fn wish(&self, cx: &Context<'_>) -> Wish {
        let mut shared = lock(&self.shared);
        match &shared.giver {
            _ if shared.dropped => return Wish::Dropped,
            _ if shared.wanted => return Wish::Piece,
            Some(known) if known.will_wake(cx.waker()) => {}
            _ => shared.giver = Some(cx.waker().clone()),
        }
        Wish::Nothing
    }

    /// Gives a part that was asked for. `last`: nothing comes after it. Returns whether it was the task of `cx` that asked,
    /// which then must look for itself.
    pub fn give(&mut self, cx: &Context<'_>, part: Part, last: bool) -> bool {
        self.ended = last;
        self.set(
            cx,
            match part {
                Part::Data(data) => Next::Data { data, last },
                Part::End(Some(trailers)) => Next::Trailers(trailers),
                Part::End(None) => Next::End,
            },
        )
    }

    /// There will be no more of it.
    pub fn fail(&mut self, cx: &Context<'_>, error: Error) -> bool {
        self.ended = true;
        self.set(cx, Next::Failed(Box::new(error)))
    }

    fn set(&self, cx: &Context<'_>, next: Next) -> bool {
        let taker = {
            let mut shared = lock(&self.shared);
            shared.next = Some(next);
            shared.wanted = false;
            shared.taker.take()
        };
        wake_other(taker, cx)
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let taker = {
            let mut shared = lock(&self.shared);
            shared.broken = true;
            shared.taker.take()
        };
        if let Some(taker) = taker {
            taker.wake();
        }
    }
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        let giver = {
            let mut shared = lock(&this.shared);
            match shared.next.take() {
                Some(next) => {
                    drop(shared);
                    return Poll::Ready(this.take(next));
                }
                None if shared.broken => {
                    drop(shared);
                    return Poll::Ready(this.take(Next::Failed(Box::new(Error::Ended))));
                }
                None => {
                    shared.wanted = true;
                    shared.taker = Some(cx.waker().clone());
                    shared.giver.take()
                }
            }
        };
        wake_other(giver, cx);
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Incoming {
    fn take(&mut self, next: Next) -> Option<Result<Frame<Bytes>, Error>> {
        match next {
            Next::Data { data, last } => {
                self.ended = last;
                self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
                Some(Ok(Frame::data(data)))
            }
            Next::Trailers(trailers) => {
                self.ended = true;
                Some(Ok(Frame::trailers(trailers)))
            }
            Next::End => {
                self.ended = true;
                None
            }
            Next::Failed(error) => {
                self.ended = true;
                Some(Err(*error))
            }
        }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        let giver = {
            let mut shared = lock(&self.shared);
            shared.dropped = true;
            shared.giver.take()
        };
        if let Some(giver) = giver.filter(|_| !self.ended) {
            giver.wake();
        }
    }
}
