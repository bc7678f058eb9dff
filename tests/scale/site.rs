//! Where the certificates are: [a cluster](crate::fleet) or [a directory](crate::directory).

use std::collections::BTreeMap;

use kit::agent::Agent;

pub const AUTHORITY: &str = "root-demo-shop";
/// The id of what is asked for.
pub const ASKED: &str = "scale";

/// How many, by verb and resource: `PUT secrets`.
pub type Requests = BTreeMap<String, u64>;

pub trait Site {
    fn count(&self) -> usize;

    fn start_controller(&self) -> Agent;

    /// That the API server has answered, by verb and resource. Our own looks are few beside them: this one, and
    /// the simulated agents' one watch.
    fn requests(&self) -> Requests;

    /// The metric of the controller that counts publications which are done.
    fn done_metric(&self) -> (&'static str, &'static [(&'static str, &'static str)]);

    /// Asks for a new leaf of the first certificate. `id`: another each time.
    fn rotate_one(&self, id: &str);

    /// Asks for another root.
    fn roll_over(&self);
}

/// The right to the first is in the manifests.
pub fn namespace(number: usize) -> String {
    if number == 0 { "shop".into() } else { format!("shop{number}") }
}

pub fn certificate(number: u32) -> String {
    format!("mtls-demo-app{number:05}")
}
