//! Notifications in both directions. [`dispatcher`] delivers the events that the plan wants delivered to the
//! [`subscription`]s; [`receiver`] accepts events of the [`event_source`]s and leaves a request with the objects
//! they concern. [`mod@format`] is what a subscription is sent. [`config`] reads the settings file that names both; [`signature`] signs and verifies.
//!
//! Neither direction decides anything: the plan does.

pub mod config;
pub mod dispatcher;
pub mod event_source;
pub mod format;
pub mod incoming_event;
pub mod receiver;
pub mod signature;
pub mod subscription;
pub mod verification_keys;
