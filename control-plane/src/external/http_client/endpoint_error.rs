//! Why an address of the settings cannot be used.

/// Why a URL is rejected. The URL is not repeated: it may be a secret.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    #[error("not a URL: write it like https://hooks.example/hotcert")]
    Malformed,
    #[error("only https is supported, and http to a loopback address that allowNetworks includes")]
    Plain,
    #[error("a URL must not contain a password: send it as a header")]
    Password,
    #[error("cannot read the roots: {0}")]
    Roots(String),
    #[error(
        "there are no roots to verify its certificate with ({0}): install the package ca-certificates, \
        or name a file with the roots (ca)"
    )]
    NoRoots(String),
    #[error(
        "the proxy that HTTPS_PROXY or ALL_PROXY names is not http:// or https://: correct the environment"
    )]
    Proxy,
}
