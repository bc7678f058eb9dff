//! What inbound and outbound HTTP share: serving a connection in either version, connections to the app or to
//! servers in either version, and what is translated between them.

mod ascii;
pub mod authority;
pub mod client;
pub mod content;
mod date;
pub mod exchange;
pub mod first_bytes;
mod frame_limit;
pub mod grpc;
mod h2_body;
mod h2_stream;
pub mod headers;
pub mod hops;
pub mod http1;
pub mod http2_connection;
mod http2_server;
pub mod interim;
mod keep_alive;
pub mod list;
mod own_response;
pub mod pool;
pub mod proxy_status;
pub mod request_body;
pub mod request_check;
pub mod response_body;
pub mod response_timeout;
pub mod serve;
pub mod upgrade;
pub mod upgraded;

use hyper::Response;
use hyper::header::CONTENT_LENGTH;

use crate::connection::memory::RequestMemory;
use crate::connection::tracker::InFlight;
use content::Content;
use headers::{remove_hop_headers, unite_lengths};
pub use own_response::{Dialect, answer, refuse};
use pool::Lease;
use response_body::ProxyBody;

/// Longer request heads are refused, and no more is buffered for an HTTP peer that does not read.
pub const MAX_HEAD_BYTES: usize = 64 * 1024;
/// Requests that one HTTP/2 connection may have in flight, whichever side makes it.
pub const MAX_STREAMS: usize = 100;
/// Requests that a client has reset before the agent saw them, at once; more closes its connection.
pub const MAX_UNSEEN_RESETS: usize = 20;
/// Streams of one connection that break the protocol, in all; more closes it.
pub const MAX_STREAM_ERRORS: usize = 1024;
/// What may be on its way on one HTTP/2 stream before the receiver reads it.
pub const STREAM_WINDOW: u32 = 64 * 1024;
/// The same for all streams of a connection, so that those that are not read do not stop the others. What a client sends
/// is buffered whatever becomes of its requests: how many of them wait is bounded by the memory budget.
pub const CONNECTION_WINDOW: u32 = MAX_STREAMS as u32 * STREAM_WINDOW;

/// The response of the app or the server, for the client. `in_flight` is held until its body has ended, and `memory`
/// until it has been sent.
pub fn pass_on(
    response: Response<Content>,
    lease: Lease,
    in_flight: Option<InFlight>,
    memory: RequestMemory,
    dialect: Dialect,
) -> Response<ProxyBody> {
    // Trailers cannot end what was promised a length.
    let grpc = dialect == Dialect::Grpc && !response.headers().contains_key(CONTENT_LENGTH);
    let mut response = response.map(|content| ProxyBody::passed_on(content, lease, in_flight, memory, grpc));
    remove_hop_headers(response.headers_mut());
    unite_lengths(response.headers_mut());
    response
}
