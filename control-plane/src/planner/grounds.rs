//! On what grounds a step of a rollover was taken. Who reads it decides by it whether a pod may have been cut off:
//! so nothing is called proved that a person overrode or forced.

use crate::pki::keyring::Rollover;

/// `proved by every pod except 2 overrides`.
pub fn grounds(forced: bool, overrides: usize) -> String {
    match (forced, overrides) {
        (true, _) => "forced, without waiting for pods".into(),
        (false, 0) => "proved by every pod".into(),
        (false, 1) => "proved by every pod except 1 override".into(),
        (false, many) => format!("proved by every pod except {many} overrides"),
    }
}

impl Rollover {
    pub fn grounds(&self) -> String {
        grounds(self.forced, self.overrides.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_called_proved_by_every_pod_that_was_overridden_or_forced() {
        let rows = [
            (false, 0, "proved by every pod"),
            (false, 1, "proved by every pod except 1 override"),
            (false, 2, "proved by every pod except 2 overrides"),
            (true, 1, "forced, without waiting for pods"),
        ];
        for (forced, overrides, expected) in rows {
            assert_eq!(grounds(forced, overrides), expected);
        }
    }
}
