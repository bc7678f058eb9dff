//! Text in fields of HTTP, which carry visible ASCII and spaces alone (RFC 9110, 5.5).

/// `text` in one line of at most `max` bytes. What is not ASCII becomes what a reader takes for it, or `?`.
pub fn line(text: &str, max: usize) -> String {
    let mut line = String::with_capacity(text.len().min(max));
    for character in text.chars() {
        let part: &str = match character {
            ' '..='~' => {
                if line.len() == max {
                    return cut(line, max);
                }
                line.push(character);
                continue;
            }
            '…' => "...",
            '‘' | '’' => "'",
            '“' | '”' => "\"",
            '‐'..='―' => "-",
            character if character.is_control() || character.is_whitespace() => " ",
            _ => "?",
        };
        if line.len() + part.len() > max {
            return cut(line, max);
        }
        line.push_str(part);
    }
    line
}

/// Ends in a sign that there was more.
fn cut(mut line: String, max: usize) -> String {
    line.truncate(max.saturating_sub(3));
    line.push_str("...");
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_one_line_of_ascii_that_a_field_takes() {
        for (text, expected) in [
            ("plain, as it is", "plain, as it is"),
            ("http://HOST/…", "http://HOST/..."),
            ("“a” – ‘b’", "\"a\" - 'b'"),
            ("Größe\r\nevil: yes\t\u{7f}\u{0}", "Gr??e  evil: yes   "),
            ("日本", "??"),
        ] {
            assert_eq!(line(text, 100), expected);
            assert!(hyper::header::HeaderValue::from_str(&line(text, 100)).is_ok());
        }
    }

    #[test]
    fn it_is_bounded() {
        assert_eq!(line("0123456789", 10), "0123456789");
        assert_eq!(line("0123456789a", 10), "0123456...");
        assert_eq!(line("01234567…", 10), "0123456...");
        assert_eq!(line(&"ä".repeat(1000), 512).len(), 512);
    }
}
