//! What the body of a response consists of, by where it comes from.

use bytes::Bytes;
use hyper::body::Incoming;

use super::h2_stream::Download;

pub enum Content {
    Http1(Incoming),
    Http2(Download),
    Own(Option<Bytes>),
}
