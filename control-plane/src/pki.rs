//! Authorities, their keyrings and the certificates they sign. Knows nothing of objects or stores.

pub mod authority;
pub mod keyring;
pub mod ledger;
pub mod pem;
pub mod preflight;
pub mod root_id;
pub mod x509_facts;
