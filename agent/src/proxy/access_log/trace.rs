//! The trace that a request belongs to, by its `traceparent` (W3C Trace Context). The field itself and `tracestate` pass
//! unchanged; the agent takes no part in a trace.

use hyper::header::{HeaderMap, HeaderName};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// The length of `00-TRACE-PARENT-FLAGS`.
const LENGTH: usize = 55;

/// 32 hexadecimal digits.
pub type TraceId = [u8; 32];

/// `None` if there is none, or none that the standard would have taken up.
pub fn trace_id(headers: &HeaderMap) -> Option<TraceId> {
    let mut fields = headers.get_all(TRACEPARENT).iter();
    let (value, None) = (fields.next()?.as_bytes(), fields.next()) else { return None };
    let (version, rest) = value.split_at_checked(2)?;
    let is_later = is_hex(version) && version != b"ff" && version != b"00";
    if value.len() != LENGTH && !(is_later && value.get(LENGTH) == Some(&b'-')) {
        return None;
    }
    let (trace, parent, flags) = (rest.get(1..33)?, rest.get(34..50)?, rest.get(51..53)?);
    let dashes = [rest[0], rest[33], rest[50]];
    let is_valid = (is_later || version == b"00")
        && dashes == [b'-'; 3]
        && [trace, parent, flags].into_iter().all(is_hex)
        && ![trace, parent].into_iter().any(|id| id.iter().all(|digit| *digit == b'0'));
    is_valid.then(|| trace.try_into().ok())?
}

fn is_hex(text: &[u8]) -> bool {
    text.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn a_trace_is_known_by_a_valid_field_alone() {
        let valid = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let of = |values: &[String]| {
            let values = values.iter().filter_map(|value| HeaderValue::from_str(value).ok());
            trace_id(&values.map(|value| (TRACEPARENT, value)).collect())
        };
        let id = Some(*b"4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(of(&[valid.into()]), id);
        assert_eq!(of(&[valid.replacen("00", "cc", 1) + "-what-comes-later"]), id);
        assert_eq!(of(&[valid.replacen("00", "cc", 1)]), id);
        for wrong in [
            String::new(),
            "00".into(),
            valid[..54].into(),
            valid.to_owned() + "-more",
            valid.replacen("00", "ff", 1),
            valid.replacen("00", "cc", 1) + "x",
            valid.replace('4', "A"),
            valid.replace('-', "_"),
            valid.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            valid.replace("00f067aa0ba902b7", &"0".repeat(16)),
            valid.replace("-01", "-0x"),
        ] {
            assert_eq!(of(std::slice::from_ref(&wrong)), None, "{wrong}");
        }
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[valid.into(), valid.into()]), None);
    }
}
