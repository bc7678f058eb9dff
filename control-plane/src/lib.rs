//! The control plane of hotcert: everything that is not in a pod's data path.
//!
//! ```text
//!          observe                 plan                    apply
//! store ──────────► Observed ──────────────► Plan ──────────────────► store
//!   ▲  resource, keyring,  (pure: lifecycle,   actions, what to look     │
//!   │  versions, pods       rollover, proof)   at, what to report        │
//!   └────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! | module | what it is |
//! |---|---|
//! | [`resource`], [`settings`] | the objects that a person writes, and what they mean |
//! | [`authority`] | a root and the leaves it signs |
//! | [`keyring`] | an authority's roots and how far a rollover has come |
//! | [`observed`], [`facts`] | all that is known in one look |
//! | [`plan`] | all that follows from it |
//! | [`apply`] | a step taken; [`preflight`], what an agent would say of it |
//! | [`store`] | where all of it is: a cluster, or a directory |
//! | [`reconcile`] | the loop around all of it; [`lease`], who runs it |
//! | [`commands`] | what a person asks |
//! | [`prove`] | what a pod serves and whom it lets in, by handshake |
//! | [`inject`] | a pod with the agent in it |
//! | [`telling`], [`dispatcher`] | what there is to tell, and who brings it |
//! | [`receiver`], [`notice`] | what others tell, and what it means |
//! | [`manager`], [`external_sync`] | certificates that are kept outside as well, and who fetches and brings them |
//! | [`book`] | what is on its way to outside, and when it is tried again |
//! | [`notifications`] | the settings of both; [`signature`], how they are signed; [`web`], requests to outside |
//! | [`controller`] | the program that runs in the cluster |
//! | [`volume`] | a directory written the way kubelet writes a mounted Secret |

pub mod api;
pub mod cli;
pub mod controller;
pub mod external;
pub mod inject;
pub mod notify;
pub mod pki;
pub mod planner;
pub mod probe;
pub mod runtime;
pub mod store;
