//! Arguments that several commands share, and the parsers of their values.

use std::time::Duration;

use clap::Args;

use crate::api::duration;
use crate::api::object_name::{ObjectName, ObjectNameError};
use crate::api::resource::ManagerRef;

/// The longest duration that makes sense as an argument.
const MAX_DURATION: Duration = Duration::from_secs(10 * 366 * 24 * 60 * 60);

#[derive(Debug, Args)]
pub(super) struct WaitArgs {
    /// How long to wait for the result, such as 30s, 5m or 1h; the request stays open afterwards
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = parse_duration)]
    pub timeout: Duration,
}

/// NAMESPACE/NAME.
pub(super) fn object_name(text: &str) -> Result<ObjectName, String> {
    text.parse().map_err(|_: ObjectNameError| "write NAMESPACE/NAME, such as shop/mtls-prod-payments".into())
}

pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    match duration::parse(text) {
        Ok(duration) if duration <= MAX_DURATION => Ok(duration),
        Ok(_) => Err("write at most ten years, 3660d".into()),
        Err(_) => Err("write a number and a unit, such as 30s, 10m, 36h or 90d".into()),
    }
}

/// MANAGER/ID.
pub(super) fn manager_ref(text: &str) -> Result<ManagerRef, String> {
    match text.split_once('/') {
        Some((name, id)) if !name.is_empty() && !id.is_empty() => {
            Ok(ManagerRef { name: name.to_owned(), id: id.to_owned() })
        }
        _ => Err("write MANAGER/ID, such as ibm/payments".into()),
    }
}
