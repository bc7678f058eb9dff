//! The loop that keeps the objects as their specs ask: [`reconcile`] observes, plans, and has [`apply`] carry
//! out what follows. [`lease`] decides which replica runs it.

pub mod apply;
mod failed_actions;
pub mod lease;
pub mod metrics;
mod pod_cache;
mod problem_log;
mod proofs;
pub mod reconcile;
