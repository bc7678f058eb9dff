//! A request to the receiver, read within the listener's limits and not verified yet.

use hotcert_tls::Names;
use hyper::header::HeaderMap;

pub struct Message<'a> {
    pub headers: &'a HeaderMap,
    pub body: &'a [u8],
    /// The names in the client's certificate, if one was requested.
    pub client: Option<&'a Names>,
}
