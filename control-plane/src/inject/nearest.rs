//! The suggestion for a mistyped name.

/// The one of `known` with the fewest characters to insert, delete, replace or swap, the first of equals. `None` where
/// more than a third of the word would have to change: then it is no slip of the hand, and a suggestion would mislead.
pub fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let distances = known.iter().map(|candidate| (strsim::osa_distance(word, candidate), *candidate));
    let near = distances.filter(|(distance, _)| distance * 3 <= word.chars().count());
    near.min_by_key(|(distance, _)| *distance).map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_near_name_is_suggested() {
        let known = ["secret", "inbound", "outbound", "memory-limit", "log"];
        for (word, meant) in [
            ("secrets", Some("secret")),
            ("inbuond", Some("inbound")),
            ("out-bound", Some("outbound")),
            ("mem-limit", Some("memory-limit")),
            ("lgo", Some("log")),
            ("lag", Some("log")),
            ("lab", None),
            ("replicas", None),
            ("scrape", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, &known), meant, "{word}");
        }
    }
}
