//! Why the agent answered an HTTP request itself, instead of the app or the server.

use hyper::StatusCode;

use crate::connection::memory::NoRoom;
use crate::proxy::http::grpc::GrpcStatus;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    #[error("the client's certificate is verified, but not on the allow list")]
    NotAllowed,
    #[error("CONNECT is not supported here; only the port of --http-proxy takes it")]
    Connect,
    #[error("CONNECT names no port; write CONNECT HOST:PORT")]
    ConnectWithoutPort,
    #[error("CONNECT {0}")]
    ConnectAddress(String),
    #[error("the request has more than one Host header")]
    DuplicateHost,
    #[error(
        "this is an HTTP proxy; request http://HOST:PORT/…, for example with http_proxy set to this address, or CONNECT HOST:PORT"
    )]
    NotForProxy,
    #[error("the URL contains user information, which is not passed on; remove it")]
    UserInformation,
    #[error("the URL is invalid")]
    InvalidUrl,
    #[error("there is no identity to connect with yet")]
    NoIdentity,
    #[error(
        "gRPC needs HTTP/2, and this route sends HTTP/1.1 to the app: write h2c: instead of http: in --inbound (annotation hotcert.dev/inbound)"
    )]
    GrpcToHttp1App,
    #[error(
        "gRPC needs HTTP/2, and {0} chose HTTP/1.1: it must offer h2 by ALPN; if hotcert-agent serves it, write h2c: in its --inbound (annotation hotcert.dev/inbound)"
    )]
    GrpcToHttp1Server(String),
    #[error("{0} does not take extended CONNECT (RFC 8441), so a protocol cannot be switched on HTTP/2")]
    NoExtendedConnect(String),
    #[error("{0:?} cannot be carried between HTTP/1.1 and HTTP/2; only websocket can")]
    Untranslatable(String),
    #[error("{0} did not switch the protocol, but answered {1}")]
    NotSwitched(String, StatusCode),
    #[error("{0} switched the protocol without being asked to")]
    SwitchedUnasked(String),
    #[error("{0} answered the handshake of a WebSocket with a wrong Sec-WebSocket-Accept")]
    WrongWebSocketAccept(String),
    #[error("there are no random numbers for the key of a WebSocket")]
    NoRandomness,
    #[error("this agent has as many open connections as --max-connections allows")]
    Full,
    #[error("this client's requests hold as much memory as one client may (--memory-budget)")]
    NoMemory,
    /// The app or the server reset the request.
    #[error("{0} reset the request: {1}")]
    Reset(String, h2::Reason),
    /// The app or the server could not be reached, was not trusted, or gave no valid response.
    #[error("{0}")]
    BadGateway(String),
}

impl From<NoRoom> for RequestError {
    fn from(_: NoRoom) -> Self {
        Self::NoMemory
    }
}

impl RequestError {
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NotAllowed => StatusCode::FORBIDDEN,
            Self::Connect => StatusCode::METHOD_NOT_ALLOWED,
            Self::DuplicateHost
            | Self::NotForProxy
            | Self::UserInformation
            | Self::InvalidUrl
            | Self::ConnectWithoutPort
            | Self::ConnectAddress(_) => StatusCode::BAD_REQUEST,
            Self::NoIdentity | Self::Full | Self::NoMemory => StatusCode::SERVICE_UNAVAILABLE,
            Self::NoExtendedConnect(_) | Self::Untranslatable(_) => StatusCode::NOT_IMPLEMENTED,
            Self::NoRandomness => StatusCode::INTERNAL_SERVER_ERROR,
            Self::GrpcToHttp1App
            | Self::GrpcToHttp1Server(_)
            | Self::NotSwitched(..)
            | Self::SwitchedUnasked(_)
            | Self::WrongWebSocketAccept(_)
            | Self::Reset(..)
            | Self::BadGateway(_) => StatusCode::BAD_GATEWAY,
        }
    }

    /// Whether it is for the administrator to know: the app or the server is the cause, or how they are reached.
    pub fn is_of_the_other_side(&self) -> bool {
        self.status() == StatusCode::BAD_GATEWAY && !matches!(self, Self::Reset(..))
    }

    pub fn grpc_status(&self) -> GrpcStatus {
        match self {
            Self::NotAllowed => GrpcStatus::PermissionDenied,
            Self::GrpcToHttp1App
            | Self::GrpcToHttp1Server(_)
            | Self::Connect
            | Self::NoExtendedConnect(_)
            | Self::Untranslatable(_)
            | Self::NotForProxy => GrpcStatus::Unimplemented,
            Self::ConnectWithoutPort
            | Self::ConnectAddress(_)
            | Self::DuplicateHost
            | Self::UserInformation
            | Self::InvalidUrl
            | Self::NoRandomness => GrpcStatus::Internal,
            Self::Full | Self::NoMemory => GrpcStatus::ResourceExhausted,
            Self::NoIdentity
            | Self::NotSwitched(..)
            | Self::SwitchedUnasked(_)
            | Self::WrongWebSocketAccept(_)
            | Self::Reset(..)
            | Self::BadGateway(_) => GrpcStatus::Unavailable,
        }
    }
}
