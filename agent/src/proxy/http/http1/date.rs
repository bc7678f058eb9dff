//! The value of `Date`, which a proxy adds to a response that has none (RFC 9110, 6.6.1).

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

use hyper::header::HeaderValue;

thread_local! {
    /// The second it was made for.
    static CURRENT: RefCell<(u64, HeaderValue)> = const { RefCell::new((u64::MAX, HeaderValue::from_static(""))) };
}

/// The current time, made once a second.
pub fn now() -> HeaderValue {
    let now = SystemTime::now();
    let second = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    CURRENT.with_borrow_mut(|current| {
        if current.0 != second
            && let Ok(value) = HeaderValue::from_str(&httpdate::fmt_http_date(now))
        {
            *current = (second, value);
        }
        current.1.clone()
    })
}
