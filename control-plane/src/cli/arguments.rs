//! Arguments that several commands share, and the parsers of their values.

use std::time::Duration;

use clap::Args;

use crate::api::resource::ManagerRef;
use crate::planner::observed::{ObjectName, ObjectNameError};

/// The longest duration that makes sense as an argument.
const MAX_DURATION: Duration = Duration::from_secs(10 * 366 * 24 * 60 * 60);

#[derive(Debug, Args)]
pub(super) struct WaitArgs {
    /// How long to wait
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    pub timeout: Duration,
}

/// NAMESPACE/NAME.
pub(super) fn object_name(text: &str) -> Result<ObjectName, String> {
    text.parse().map_err(|error: ObjectNameError| error.to_string())
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if duration <= MAX_DURATION => Ok(duration),
        Ok(_) => Err("that is more than ten years".into()),
        Err(error) => Err(format!("{error}; write it like 30s or 5m")),
    }
}

/// MANAGER/ID.
pub(super) fn manager_ref(text: &str) -> Result<ManagerRef, String> {
    match text.split_once('/') {
        Some((name, id)) if !name.is_empty() && !id.is_empty() => {
            Ok(ManagerRef { name: name.to_owned(), id: id.to_owned() })
        }
        _ => Err(format!("{text:?} is no MANAGER/ID, such as ibm/payments")),
    }
}
