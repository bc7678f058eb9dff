//! Requests to addresses from the settings file: webhooks, external managers, the keys of senders. They go over
//! HTTPS, never follow a redirect, and are bounded in time and size. An [`Endpoint`] connects to public addresses
//! only, whatever its name resolves to at that moment, unless its [`AddressPolicy`] allows the network.
//!
//! Secrets in requests and responses are zeroized in the buffers held here; the buffers of the TLS and HTTP
//! libraries are not under our control.
//!
//! Behind a proxy, which the environment names as usual, what may be connected to is up to the proxy.

mod address_policy;
mod endpoint;
mod endpoint_error;
mod exchange;
mod proxy;
mod roots;

pub use address_policy::{AddressPolicy, Network, NetworkError};
pub use endpoint::Endpoint;
pub use endpoint_error::EndpointError;
pub use exchange::{Headers, HttpError, HttpRequest, HttpResponse};
