//! The objects that people write, what they mean, and the words in which their state is reported. Plain values:
//! no I/O, and no key.

pub mod agent_ports;
pub mod algorithm;
pub mod condition;
pub(crate) mod date;
pub(crate) mod duration;
pub mod leaf_request;
pub mod notification;
pub mod object_name;
pub mod permitted_names;
pub mod request;
pub mod resource;
pub mod settings;
pub(crate) mod yaml;
