//! The control plane of hotcert: everything that is not in a pod's data path.
//!
//! | module | what it is |
//! |---|---|
//! | [`authority`] | a root and the leaves it signs |
//! | [`volume`] | a directory written the way kubelet writes a mounted Secret |
//! | [`inject`] | a pod with the agent in it |
//! | [`controller`] | the program that runs in the cluster |

pub mod authority;
pub mod cli;
pub mod controller;
pub mod inject;
pub mod volume;
