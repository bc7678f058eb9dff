//! pki

pub mod authority;
pub mod keyring;
pub mod preflight;
pub mod x509_facts;
