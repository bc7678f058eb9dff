//! The suggestion for a mistyped name: the known one with the smallest edit distance.

/// The one of `known` with the fewest characters to insert, delete or replace; the first of equals.
pub fn nearest<'a>(word: &str, known: &[&'a str]) -> &'a str {
    known.iter().copied().min_by_key(|candidate| distance(word, candidate)).unwrap_or_default()
}

fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, letter) in from.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, other) in to.iter().enumerate() {
            let changed = diagonal + usize::from(letter != *other);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_suggested() {
        let known = ["secret", "inbound", "outbound", "memory-limit"];
        for (typo, meant) in [
            ("secrets", "secret"),
            ("inbuond", "inbound"),
            ("out-bound", "outbound"),
            ("mem-limit", "memory-limit"),
        ] {
            assert_eq!(nearest(typo, &known), meant);
        }
    }
}
