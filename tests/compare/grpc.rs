//! gRPC calls of one kind: a request message of 100 bytes, an answer of the same size, and the status after it.
//! The load makes them, the service behind the terminators answers them.

mod load;
mod service;

pub use load::Load;
pub use service::Service;

use crate::http2::{Field, Known};

/// Not compressed, 100 bytes, and those bytes.
const MESSAGE: [u8; 105] = {
    let mut message = [b'.'; 105];
    [message[0], message[1], message[2], message[3], message[4]] = [0, 0, 0, 0, 100];
    message
};

const CALL: [Field; 7] = [
    Field { name: ":method", value: "POST", known: Known::Whole(3) },
    Field { name: ":scheme", value: "https", known: Known::Whole(7) },
    Field { name: ":path", value: "/bench.Echo/Say", known: Known::Name(4) },
    Field { name: ":authority", value: "localhost", known: Known::Name(1) },
    CONTENT_TYPE,
    Field { name: "user-agent", value: "grpc-load/1.0", known: Known::Name(58) },
    Field { name: "te", value: "trailers", known: Known::Nothing },
];
const ANSWER: [Field; 2] = [STATUS, CONTENT_TYPE];
const OK: [Field; 1] = [Field { name: "grpc-status", value: "0", known: Known::Nothing }];
/// To a call whose message is another one: `INVALID_ARGUMENT`, alone.
const REFUSAL: [Field; 3] =
    [STATUS, CONTENT_TYPE, Field { name: "grpc-status", value: "3", known: Known::Nothing }];

const STATUS: Field = Field { name: ":status", value: "200", known: Known::Whole(8) };
const CONTENT_TYPE: Field = Field { name: "content-type", value: "application/grpc", known: Known::Name(31) };
