//! `Hotcert-Hops`: the number of agents that a request has passed. An agent whose app leads back to an agent, through
//! whatever proxies, would send a request round for ever; the count ends that. It is a number without a name, and not
//! `Via`, because servers change what they answer when they see `Via`: nginx does not compress.

use hyper::header::{HeaderMap, HeaderName, HeaderValue};

use super::list;

pub const NAME: HeaderName = HeaderName::from_static("hotcert-hops");

/// Agents that a request may pass. A call from one service to another passes two, so that is sixteen services in a
/// row that all hand on the headers they got, far beyond what is built; and a request that goes round costs 32
/// connections instead of all that there are.
pub const MAX_HOPS: usize = 32;

/// What is written, so that a request needs no allocation for it.
static COUNTS: [&str; MAX_HOPS] = [
    "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16", "17", "18", "19",
    "20", "21", "22", "23", "24", "25", "26", "27", "28", "29", "30", "31", "32",
];

/// A request goes round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyHops;

/// Counts this agent, unless the request has passed too many.
pub fn count(headers: &mut HeaderMap) -> Result<(), TooManyHops> {
    let next = COUNTS.get(passed(headers)).ok_or(TooManyHops)?;
    headers.insert(NAME, HeaderValue::from_static(next));
    Ok(())
}

/// A proxy between may have repeated or joined the field: the largest number counts. Anything else is not of an agent.
fn passed(headers: &HeaderMap) -> usize {
    let counts =
        list::members(headers, &NAME).filter_map(|hops| std::str::from_utf8(hops).ok()?.parse().ok());
    counts.max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(values: &[&'static str]) -> HeaderMap {
        values.iter().map(|value| (NAME, HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn each_agent_counts_itself_until_there_were_too_many() {
        let mut headers = HeaderMap::new();
        for hops in 1..=MAX_HOPS {
            assert_eq!(count(&mut headers), Ok(()));
            assert_eq!(headers[NAME], hops.to_string());
        }
        assert_eq!(count(&mut headers), Err(TooManyHops));
    }

    #[test]
    fn the_largest_count_holds_and_nonsense_counts_nothing() {
        for (values, expected) in
            [(&["3", "7"][..], "8"), (&["2, 9"], "10"), (&["x"], "1"), (&["-5"], "1"), (&["", "4"], "5")]
        {
            let mut headers = with(values);
            assert_eq!(count(&mut headers), Ok(()));
            assert_eq!(headers.get_all(NAME).iter().collect::<Vec<_>>(), [expected]);
        }
        assert_eq!(count(&mut with(&["4000000000"])), Err(TooManyHops));
    }
}
