//! Why the agent answered an HTTP request itself, instead of the app or the server.

use hyper::StatusCode;

use crate::connection::memory::NoRoom;
use crate::proxy::http::grpc::GrpcStatus;
use crate::proxy::http::hops::{self, TooManyHops};

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
    #[error("the request has more than one Content-Length header")]
    RepeatedLength,
    #[error("the request has no Host header")]
    NoHost,
    #[error("the host of the request is not HOST or HOST:PORT")]
    InvalidHost,
    #[error("the request names one host in :authority and another in Host")]
    ConflictingHost,
    #[error("the target of the request is HOST:PORT, which only CONNECT may have; write a path or a URL")]
    AuthorityForm,
    #[error(
        "the request has passed {} agents, so it goes in a circle: an app of --inbound leads back to an agent",
        hops::MAX_HOPS
    )]
    Loop,
    #[error(
        "this is an HTTP proxy; request http://HOST:PORT/…, for example with http_proxy set to this address, or CONNECT HOST:PORT"
    )]
    NotForProxy,
    #[error("the URL contains user information, which is not passed on; remove it")]
    UserInformation,
    #[error("the URL is invalid")]
    InvalidUrl,
    /// One answer for whatever the reason is, so that a request does not learn what is where. The reason is for metrics.
    #[error(
        "{0} cannot be reached, or not through this proxy (--http-proxy-allow); the agent's log has the reason"
    )]
    ProxyUnreachable(String, &'static str),
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
    /// The client, or all clients together, have as many connections to the app as they may have.
    #[error("{0}")]
    AppBusy(String),
    #[error("this client's requests hold as much memory as one client may (--memory-budget)")]
    NoMemory,
    /// The app or the server reset the request.
    #[error("{0} reset the request: {1}")]
    Reset(String, h2::Reason),
    /// The app or the server could not be reached, was not trusted, or gave no valid response.
    #[error("{0}")]
    BadGateway(String),
}

impl From<TooManyHops> for RequestError {
    fn from(_: TooManyHops) -> Self {
        Self::Loop
    }
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
            | Self::RepeatedLength
            | Self::NoHost
            | Self::InvalidHost
            | Self::ConflictingHost
            | Self::AuthorityForm
            | Self::NotForProxy
            | Self::UserInformation
            | Self::InvalidUrl
            | Self::ConnectWithoutPort
            | Self::ConnectAddress(_) => StatusCode::BAD_REQUEST,
            Self::NoIdentity | Self::Full | Self::AppBusy(_) | Self::NoMemory => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::NoExtendedConnect(_) | Self::Untranslatable(_) => StatusCode::NOT_IMPLEMENTED,
            Self::NoRandomness => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Loop => StatusCode::LOOP_DETECTED,
            Self::GrpcToHttp1App
            | Self::GrpcToHttp1Server(_)
            | Self::NotSwitched(..)
            | Self::SwitchedUnasked(_)
            | Self::WrongWebSocketAccept(_)
            | Self::Reset(..)
            | Self::ProxyUnreachable(..)
            | Self::BadGateway(_) => StatusCode::BAD_GATEWAY,
        }
    }

    /// For metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotAllowed => "not_allowed",
            Self::Connect | Self::ConnectWithoutPort | Self::ConnectAddress(_) => "connect",
            Self::DuplicateHost
            | Self::NoHost
            | Self::InvalidHost
            | Self::ConflictingHost
            | Self::AuthorityForm => "host",
            Self::RepeatedLength => "length",
            Self::Loop => "loop",
            Self::NotForProxy | Self::UserInformation | Self::InvalidUrl => "url",
            Self::NoIdentity => "no_identity",
            Self::GrpcToHttp1App | Self::GrpcToHttp1Server(_) => "grpc_to_http1",
            Self::NoExtendedConnect(_)
            | Self::Untranslatable(_)
            | Self::NotSwitched(..)
            | Self::SwitchedUnasked(_)
            | Self::WrongWebSocketAccept(_)
            | Self::NoRandomness => "upgrade",
            Self::Full => "limit",
            Self::AppBusy(_) => "app_busy",
            Self::NoMemory => "memory",
            Self::Reset(..) => "reset",
            Self::ProxyUnreachable(_, reason) => reason,
            Self::BadGateway(_) => "bad_gateway",
        }
    }

    /// Whether it is for the administrator to know and not in the log yet: the app or the server is the cause, or how
    /// they are reached.
    pub fn is_of_the_other_side(&self) -> bool {
        match self {
            Self::Reset(..) | Self::ProxyUnreachable(..) => false,
            Self::AppBusy(_) | Self::NoMemory => true,
            error => matches!(error.status(), StatusCode::BAD_GATEWAY | StatusCode::LOOP_DETECTED),
        }
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
            | Self::RepeatedLength
            | Self::NoHost
            | Self::InvalidHost
            | Self::ConflictingHost
            | Self::AuthorityForm
            | Self::UserInformation
            | Self::InvalidUrl
            | Self::NoRandomness => GrpcStatus::Internal,
            // Not to be tried again.
            Self::Loop => GrpcStatus::FailedPrecondition,
            Self::Full | Self::AppBusy(_) | Self::NoMemory => GrpcStatus::ResourceExhausted,
            Self::NoIdentity
            | Self::NotSwitched(..)
            | Self::SwitchedUnasked(_)
            | Self::WrongWebSocketAccept(_)
            | Self::Reset(..)
            | Self::ProxyUnreachable(..)
            | Self::BadGateway(_) => GrpcStatus::Unavailable,
        }
    }
}
