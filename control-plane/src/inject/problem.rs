//! Why a pod cannot be injected: every problem at once, within the size of an admission response.

use std::fmt;

const MAX_PROBLEMS: usize = 16;
/// Characters of a location and of a message; both may quote the pod.
const MAX_LOCATION: usize = 128;
const MAX_MESSAGE: usize = 512;

/// All problems of a pod, so that they can be fixed in one go. Never empty; short enough for a response to
/// the API server, whatever the pod contains.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(Problem::to_string).collect::<Vec<_>>().join("; "))]
pub struct InvalidPod(pub Vec<Problem>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// `annotation hotcert.dev/inbound`, `spec.hostNetwork`, …
    pub location: String,
    /// What is wrong and what to write instead.
    pub message: String,
}

impl Problem {
    pub fn new(location: &str, message: &str) -> Self {
        Self {
            location: truncate_middle(location, MAX_LOCATION),
            message: truncate_middle(message, MAX_MESSAGE),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.location, self.message)
    }
}

/// Collects problems; those beyond the first [`MAX_PROBLEMS`] are only counted.
#[derive(Default)]
pub struct Problems {
    first: Vec<Problem>,
    more: usize,
}

impl Problems {
    pub fn add(&mut self, location: impl AsRef<str>, message: impl AsRef<str>) {
        match self.first.len() < MAX_PROBLEMS {
            true => self.first.push(Problem::new(location.as_ref(), message.as_ref())),
            false => self.more += 1,
        }
    }

    /// Fails if there are any; leaves none behind.
    pub fn take_result(&mut self) -> Result<(), InvalidPod> {
        let Self { mut first, more } = std::mem::take(self);
        if more > 0 {
            first.push(Problem::new(&format!("and {more} more"), "fix these first"));
        }
        if first.is_empty() { Ok(()) } else { Err(InvalidPod(first)) }
    }
}

/// At most `max` characters of a text. What is cut is the middle: the start of a message quotes the value,
/// and its end says how to fix it.
pub fn truncate_middle(text: &str, max: usize) -> String {
    let length = text.chars().count();
    if length <= max {
        return text.to_owned();
    }
    let byte_at = |index| text.char_indices().nth(index).map_or(text.len(), |(byte, _)| byte);
    let (start, end) = (max / 4, max - max / 4 - 1);
    format!("{}…{}", &text[..byte_at(start)], &text[byte_at(length - end)..])
}
