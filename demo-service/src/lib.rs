//! A microservice as a user of hotcert writes it: plain HTTP, without any knowledge of TLS.
//!
//! | module | content |
//! |---|---|
//! | [`service`] | the HTTP server and its calls to an upstream |

pub mod service;
