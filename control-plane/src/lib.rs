//! The control plane of hotcert: everything that is not in a pod's data path.
//!
//! | module | what it is |
//! |---|---|
//! | [`authority`] | a root and the leaves it signs |
//! | [`volume`] | a directory written the way kubelet writes a mounted Secret |

pub mod authority;
pub mod volume;
