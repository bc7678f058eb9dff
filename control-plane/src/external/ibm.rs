//! The APIs of IBM Cloud that make and remove what rotation by events needs: instances, an authorization, a
//! registration, a topic, a destination, a subscription and a secret. Each submodule has the requests of one API;
//! [`Client`] sends them with a token from IAM. Secrets in a request are zeroized and masked wherever it is shown.

mod client;
mod crn;
mod endpoints;
mod error;
pub mod event_notifications;
pub mod global_catalog;
pub mod global_tagging;
pub mod iam;
mod request;
pub mod resource_controller;
pub mod secrets_manager;

pub use client::{Answer, Client};
pub use crn::Crn;
pub use endpoints::Endpoints;
pub use error::IbmError;
pub use request::{ApiRequest, Body, Part, Service};

#[cfg(test)]
mod tests;
