//! Why the agent answered an HTTP request itself, instead of the app or the server.

use hyper::StatusCode;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    #[error("the client's certificate is verified, but not on the allow list")]
    NotAllowed,
    #[error("CONNECT is not supported")]
    Connect,
    #[error("CONNECT is not supported; request http://HOST:PORT/…, and the agent uses mTLS to HOST")]
    ConnectThroughProxy,
    #[error("the request has more than one Host header")]
    DuplicateHost,
    #[error(
        "this is an HTTP proxy; request http://HOST:PORT/…, for example with http_proxy set to this address"
    )]
    NotForProxy,
    #[error("the URL contains user information, which is not passed on; remove it")]
    UserInformation,
    #[error("the URL is invalid")]
    InvalidUrl,
    #[error("there is no identity to connect with yet")]
    NoIdentity,
    /// The app or the server could not be reached, was not trusted, or gave no valid response.
    #[error("{0}")]
    BadGateway(String),
}

impl RequestError {
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NotAllowed => StatusCode::FORBIDDEN,
            Self::Connect | Self::ConnectThroughProxy => StatusCode::METHOD_NOT_ALLOWED,
            Self::DuplicateHost | Self::NotForProxy | Self::UserInformation | Self::InvalidUrl => {
                StatusCode::BAD_REQUEST
            }
            Self::NoIdentity => StatusCode::SERVICE_UNAVAILABLE,
            Self::BadGateway(_) => StatusCode::BAD_GATEWAY,
        }
    }
}
