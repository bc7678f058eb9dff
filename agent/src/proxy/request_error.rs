//! Why the agent answered an HTTP request itself, instead of the app or the server.

use std::time::Duration;

use humantime::format_duration;
use hyper::StatusCode;

use crate::connection::memory::NoRoom;
use crate::proxy::http::grpc::GrpcStatus;
use crate::proxy::http::hops::{self, TooManyHops};
use crate::proxy::http::http1::Malformed;
use crate::proxy::http::proxy_status::ErrorType;

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
    /// It cannot be read.
    #[error("the request cannot be read: {0}")]
    Malformed(Malformed),
    #[error("the request has no Host header")]
    NoHost,
    #[error("the host of the request is not HOST or HOST:PORT")]
    InvalidHost,
    #[error("the request names one host in :authority and another in Host")]
    ConflictingHost,
    #[error("the target of the request is HOST:PORT, which only CONNECT may have; write a path or a URL")]
    AuthorityForm,
    #[error("the URL of the request is neither of http nor of https")]
    Scheme,
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
    /// The client broke its request off, so that nobody gets the answer.
    #[error("the request ended before its end: {0}")]
    BrokenOff(String),
    /// The app or the server reset the request.
    #[error("{0} reset the request: {1}")]
    Reset(String, h2::Reason),
    #[error("{name} did not answer within {} (--response-timeout)", format_duration(*within))]
    ResponseTimeout { name: String, within: Duration },
    /// The app or the server could not be reached, was not trusted, or gave no valid response.
    #[error("{message}")]
    BadGateway { error: ErrorType, next_hop: String, message: String },
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
            Self::Malformed(reason) => reason.status(),
            Self::Connect => StatusCode::METHOD_NOT_ALLOWED,
            Self::DuplicateHost
            | Self::RepeatedLength
            | Self::BrokenOff(_)
            | Self::NoHost
            | Self::InvalidHost
            | Self::ConflictingHost
            | Self::AuthorityForm
            | Self::Scheme
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
            Self::ResponseTimeout { .. } => StatusCode::GATEWAY_TIMEOUT,
            Self::GrpcToHttp1App
            | Self::GrpcToHttp1Server(_)
            | Self::NotSwitched(..)
            | Self::SwitchedUnasked(_)
            | Self::WrongWebSocketAccept(_)
            | Self::Reset(..)
            | Self::ProxyUnreachable(..)
            | Self::BadGateway { .. } => StatusCode::BAD_GATEWAY,
        }
    }

    /// When to ask again what was refused because something is used up: whoever holds it gives it back meanwhile, or
    /// the next request waits for it.
    pub fn retry_after_seconds(&self) -> Option<u16> {
        matches!(self, Self::Full | Self::AppBusy(_) | Self::NoMemory).then_some(1)
    }

    /// For metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotAllowed => "not_allowed",
            Self::Malformed(reason) => reason.reason(),
            Self::Connect | Self::ConnectWithoutPort | Self::ConnectAddress(_) => "connect",
            Self::DuplicateHost
            | Self::NoHost
            | Self::InvalidHost
            | Self::ConflictingHost
            | Self::AuthorityForm => "host",
            Self::RepeatedLength => "length",
            Self::BrokenOff(_) => "broken_off",
            Self::Loop => "loop",
            Self::Scheme | Self::NotForProxy | Self::UserInformation | Self::InvalidUrl => "url",
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
            Self::ResponseTimeout { .. } => "response_timeout",
            Self::BadGateway { .. } => "bad_gateway",
        }
    }

    /// Whether it is for the administrator to know and not in the log yet: the app or the server is the cause, or how
    /// they are reached.
    pub fn is_of_the_other_side(&self) -> bool {
        match self {
            Self::Reset(..) | Self::ProxyUnreachable(..) => false,
            Self::AppBusy(_) | Self::NoMemory | Self::ResponseTimeout { .. } => true,
            error => matches!(error.status(), StatusCode::BAD_GATEWAY | StatusCode::LOOP_DETECTED),
        }
    }

    /// For `Proxy-Status`.
    pub fn proxy_error(&self) -> ErrorType {
        match self {
            Self::NotAllowed => ErrorType::HttpRequestDenied,
            Self::Connect
            | Self::ConnectWithoutPort
            | Self::ConnectAddress(_)
            | Self::Malformed(_)
            | Self::DuplicateHost
            | Self::RepeatedLength
            | Self::BrokenOff(_)
            | Self::NoHost
            | Self::InvalidHost
            | Self::ConflictingHost
            | Self::AuthorityForm
            | Self::Scheme
            | Self::NotForProxy
            | Self::UserInformation
            | Self::InvalidUrl => ErrorType::HttpRequestError,
            Self::Loop => ErrorType::ProxyLoopDetected,
            Self::ResponseTimeout { .. } => ErrorType::HttpResponseTimeout,
            Self::ProxyUnreachable(..) => ErrorType::DestinationUnavailable,
            Self::NoIdentity | Self::GrpcToHttp1App => ErrorType::ProxyConfigurationError,
            Self::NoExtendedConnect(_)
            | Self::Untranslatable(_)
            | Self::NotSwitched(..)
            | Self::SwitchedUnasked(_)
            | Self::WrongWebSocketAccept(_) => ErrorType::HttpUpgradeFailed,
            Self::Full | Self::AppBusy(_) => ErrorType::ConnectionLimitReached,
            Self::NoRandomness | Self::NoMemory => ErrorType::ProxyInternalError,
            Self::GrpcToHttp1Server(_) | Self::Reset(..) => ErrorType::HttpProtocolError,
            Self::BadGateway { error, .. } => *error,
        }
    }

    /// For `Proxy-Status`: where the agent went with the request.
    pub fn next_hop(&self) -> Option<&str> {
        match self {
            Self::BadGateway { next_hop, .. } => Some(next_hop),
            _ => None,
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
            | Self::Malformed(_)
            | Self::DuplicateHost
            | Self::RepeatedLength
            | Self::BrokenOff(_)
            | Self::NoHost
            | Self::InvalidHost
            | Self::ConflictingHost
            | Self::AuthorityForm
            | Self::Scheme
            | Self::UserInformation
            | Self::InvalidUrl
            | Self::NoRandomness => GrpcStatus::Internal,
            // Not to be tried again.
            Self::Loop => GrpcStatus::FailedPrecondition,
            Self::ResponseTimeout { .. } => GrpcStatus::DeadlineExceeded,
            Self::Full | Self::AppBusy(_) | Self::NoMemory => GrpcStatus::ResourceExhausted,
            Self::NoIdentity
            | Self::NotSwitched(..)
            | Self::SwitchedUnasked(_)
            | Self::WrongWebSocketAccept(_)
            | Self::Reset(..)
            | Self::ProxyUnreachable(..)
            | Self::BadGateway { .. } => GrpcStatus::Unavailable,
        }
    }
}
