//! Names of objects, as Kubernetes has them. A name that passes has no part that leads elsewhere in a path.

use crate::store::StoreError;

pub fn is_valid(name: &str) -> bool {
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.len() <= 253
        && name.starts_with(edge)
        && name.ends_with(edge)
        && name.chars().all(|c| edge(c) || matches!(c, '-' | '.'))
}

pub fn validate(name: &str) -> Result<&str, StoreError> {
    if is_valid(name) {
        return Ok(name);
    }
    // It may be anything, so not all of it is repeated.
    let shown: String = name.chars().take(80).collect();
    Err(StoreError::Malformed {
        what: format!("the name {shown:?}"),
        cause:
            "use up to 253 lower-case letters, digits, hyphens and dots, with a letter or a digit at both \
                ends"
                .into(),
    })
}
