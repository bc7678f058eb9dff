//! The future that answers a request, in room that a thread uses again: it is large, and there is one for each request.

use std::cell::RefCell;
use std::future::Future;

use hyper::Response;
use tokio_util::sync::ReusableBoxFuture;

use crate::proxy::http::response_body::ProxyBody;

pub type Answer = Result<Response<ProxyBody>, h2::Error>;
pub type Answering = ReusableBoxFuture<'static, Answer>;

/// More are freed: requests come and go in turns.
const KEPT: usize = 8;

thread_local! {
    static FREE: RefCell<Vec<Answering>> = const { RefCell::new(Vec::new()) };
}

pub fn answering(future: impl Future<Output = Answer> + Send + 'static) -> Answering {
    match FREE.with_borrow_mut(Vec::pop) {
        Some(mut room) => {
            room.set(future);
            room
        }
        None => Answering::new(future),
    }
}

/// Keeps the room of a future that has ended, in which nothing is left.
pub fn keep(ended: Answering) {
    FREE.with_borrow_mut(|free| {
        if free.len() < KEPT {
            free.push(ended);
        }
    });
}
