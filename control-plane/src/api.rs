//! api

pub mod condition;
pub(crate) mod date;
pub mod events;
pub mod resource;
pub mod settings;
pub(crate) mod yaml;
