//! Why an API of IBM Cloud could not be used. Of what was sent nothing is repeated, of the answer only what it reports
//! as its errors, without anything that looks like a key.

use hyper::StatusCode;

use super::request::Service;
use crate::external::http_client::{EndpointError, HttpError};

#[derive(Debug, thiserror::Error)]
pub enum IbmError {
    #[error("{}: {cause}", service.name())]
    Http { service: Service, cause: HttpError },
    #[error("{}: {url} is not an address to call: {cause}", service.name())]
    Endpoint { service: Service, url: String, cause: EndpointError },
    #[error(
        "{} ({origin}) answered {status}{}",
        service.name(),
        reported.as_ref().map(|text| format!(" ({text})")).unwrap_or_default()
    )]
    Status { service: Service, origin: String, status: StatusCode, reported: Option<String> },
    #[error("{} answered what cannot be read: {cause}", service.name())]
    Malformed { service: Service, cause: String },
}

impl IbmError {
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Status { status, .. } => Some(*status),
            _ => None,
        }
    }

    pub fn is_not_found(&self) -> bool {
        self.status() == Some(StatusCode::NOT_FOUND)
    }
}
