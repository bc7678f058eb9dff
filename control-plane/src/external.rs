//! Everything outside that hotcert calls. [`http_client`] sends requests to addresses from the settings file;
//! [`manager`] speaks the APIs of external certificate managers; [`ibm`] those of IBM Cloud that set
//! up what rotation by events needs; [`config`] parses their section of the settings
//! file; [`sync`] runs the planned fetches and pushes.
//!
//! Below [`crate::notify`], which sends and receives over the same HTTP client and shares the settings file:
//! nothing here imports it.

pub mod config;
pub mod http_client;
pub mod ibm;
pub mod manager;
pub mod sync;
mod token_cache;
