//! A microservice as a user of hotcert writes it: plain HTTP, and no idea that there is TLS.
//!
//! | module | what it is |
//! |---|---|
//! | [`service`] | the HTTP server and its calls to an upstream |

pub mod service;
