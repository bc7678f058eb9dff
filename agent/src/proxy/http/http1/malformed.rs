//! Why a message could not be read.

use hyper::StatusCode;

use super::{MAX_EXTENSION_BYTES, MAX_FIELDS, MAX_HEAD_BYTES, MAX_TRAILER_BYTES};

/// What is wrong with a message, without any of its bytes: it is written to logs and sent to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("the first line is not that of HTTP/1.1")]
    FirstLine,
    #[error("the target of the request is neither a path, a URL, HOST:PORT nor *")]
    Target,
    #[error("the version is neither HTTP/1.1 nor HTTP/1.0")]
    Version,
    #[error("a header field is not NAME: VALUE in one line of printable characters")]
    Field,
    #[error("the first line is longer than {} KiB", MAX_HEAD_BYTES / 1024)]
    LineTooLong,
    #[error("the header fields are longer than {} KiB", MAX_HEAD_BYTES / 1024)]
    FieldsTooLong,
    #[error("there are more than {MAX_FIELDS} header fields")]
    TooManyFields,
    #[error("Content-Length is not one number")]
    Length,
    #[error("Transfer-Encoding does not end with chunked")]
    NotChunked,
    #[error("Transfer-Encoding has more than chunked")]
    Coding,
    #[error("HTTP/1.0 has no Transfer-Encoding")]
    CodingInHttp10,
    #[error("a chunk does not begin with its size")]
    ChunkSize,
    #[error("a chunk does not end where its size says")]
    ChunkEnd,
    #[error("the extensions of chunks are longer than {} KiB", MAX_EXTENSION_BYTES / 1024)]
    ExtensionsTooLong,
    #[error("a trailer field is not NAME: VALUE in one line of printable characters")]
    Trailer,
    #[error("the trailer fields are longer than {} KiB", MAX_TRAILER_BYTES / 1024)]
    TrailersTooLong,
}

impl Malformed {
    /// What a client is told that sent such a request.
    pub fn status(self) -> StatusCode {
        match self {
            Self::LineTooLong => StatusCode::URI_TOO_LONG,
            Self::FieldsTooLong | Self::TooManyFields | Self::TrailersTooLong => {
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
            }
            Self::Coding => StatusCode::NOT_IMPLEMENTED,
            Self::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::FirstLine
            | Self::Target
            | Self::Field
            | Self::Length
            | Self::NotChunked
            | Self::CodingInHttp10
            | Self::ChunkSize
            | Self::ChunkEnd
            | Self::ExtensionsTooLong
            | Self::Trailer => StatusCode::BAD_REQUEST,
        }
    }

    /// For metrics.
    pub fn reason(self) -> &'static str {
        match self {
            Self::FirstLine | Self::Target | Self::Field | Self::Trailer => "malformed",
            Self::LineTooLong => "target_too_long",
            Self::FieldsTooLong | Self::TooManyFields | Self::TrailersTooLong => "fields_too_large",
            Self::Version => "version",
            Self::Length => "length",
            Self::NotChunked | Self::Coding | Self::CodingInHttp10 => "transfer_encoding",
            Self::ChunkSize | Self::ChunkEnd | Self::ExtensionsTooLong => "chunk",
        }
    }
}
