//! The `Date` of responses that come without one (RFC 9110, 6.6.1), written once a second by each thread.

use std::cell::RefCell;
use std::time::{Duration, SystemTime};

use httpdate::HttpDate;
use hyper::header::{DATE, HeaderMap, HeaderValue};

struct Cached {
    value: HeaderValue,
    /// The second that it names.
    second: SystemTime,
}

thread_local! {
    static CACHED: RefCell<Option<Cached>> = const { RefCell::new(None) };
}

/// Adds the field where it is missing.
pub fn add(headers: &mut HeaderMap) {
    if !headers.contains_key(DATE)
        && let Some(value) = value(SystemTime::now())
    {
        headers.insert(DATE, value);
    }
}

fn value(now: SystemTime) -> Option<HeaderValue> {
    CACHED.with_borrow_mut(|cached| {
        if let Some(cached) = cached
            && now.duration_since(cached.second).is_ok_and(|age| age < Duration::from_secs(1))
        {
            return Some(cached.value.clone());
        }
        let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        let second = SystemTime::UNIX_EPOCH + Duration::from_secs(since_epoch.as_secs());
        let value = HeaderValue::from_str(&HttpDate::from(second).to_string()).ok()?;
        *cached = Some(Cached { value: value.clone(), second });
        Some(value)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn it_follows_the_clock_both_ways_and_replaces_none() {
        let at = |millis| value(SystemTime::UNIX_EPOCH + Duration::from_millis(millis)).unwrap();
        assert_eq!(at(784_111_777_900), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(at(784_111_778_000), "Sun, 06 Nov 1994 08:49:38 GMT");
        assert_eq!(at(784_111_777_000), "Sun, 06 Nov 1994 08:49:37 GMT");
        let mut headers = HeaderMap::new();
        headers.insert(DATE, HeaderValue::from_static("of the app"));
        add(&mut headers);
        assert_eq!(headers[DATE], "of the app");
    }
}
