//! A microservice as a user of hotcert writes it: plain HTTP or gRPC, without any knowledge of TLS.
//!
//! | module | content |
//! |---|---|
//! | [`service`] | the HTTP or gRPC server and its calls to an upstream |

pub mod service;
