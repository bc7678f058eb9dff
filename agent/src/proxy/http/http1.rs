//! HTTP/1.1 and 1.0 (RFC 9112) on the proxy's path, from clients and to the app or servers. A message is read into a
//! head and a body whose end is known, and written anew: where a body ends follows from the method, the status, the
//! version and the body (`framing`), never from a field that the other side wrote.

mod answering;
mod chunked;
pub mod client;
mod decode;
mod encode;
mod error;
mod exchange;
mod feed;
mod framing;
mod head;
mod incoming;
mod input;
mod malformed;
mod output;
mod response;
pub mod server;
mod target;
mod upload;

pub use error::Error;
pub use feed::expects_continue;
pub use incoming::Incoming;
pub use malformed::Malformed;
pub use response::ResponseBody;
pub use target::RawTarget;

use super::MAX_HEAD_BYTES;

/// More header fields than any browser, proxy or identity provider sends together; the head is bounded in bytes besides.
/// Apache and Envoy take 100 by default, HAProxy 101, and nginx any number.
const MAX_FIELDS: usize = 256;
/// Extensions of chunks, of which nobody makes use, in one body.
const MAX_EXTENSION_BYTES: usize = 16 * 1024;
/// Trailer fields of one body.
const MAX_TRAILER_BYTES: usize = 16 * 1024;
