//! Header blocks (RFC 7541) without a dynamic table, which the decoder forbids by a setting and the encoder does without.
//! Fields are sent as literals, whatever bytes are in them.

use super::Field;

pub fn encode(fields: &[Field]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            put_length(text.len(), &mut block);
            block.extend_from_slice(text);
        }
    }
    block
}

/// A number after one bit, as the length of a string that is not compressed.
fn put_length(length: usize, block: &mut Vec<u8>) {
    if length < 127 {
        return block.push(length as u8);
    }
    block.push(127);
    let mut rest = length - 127;
    while rest >= 128 {
        block.push((rest % 128) as u8 | 128);
        rest /= 128;
    }
    block.push(rest as u8);
}

/// `None` if the block is not to the letter, or refers to a table that was forbidden.
pub fn decode(mut block: &[u8]) -> Option<Vec<Field>> {
    let mut fields = Vec::new();
    while let [first, ..] = block {
        match first {
            0x80.. => {
                let (name, value) = static_field(number(&mut block, 7)?)?;
                fields.push((name.into(), value.into()));
            }
            // The size of the table.
            0x20..0x40 => drop(number(&mut block, 5)?),
            first => {
                let name = match number(&mut block, if *first >= 0x40 { 6 } else { 4 })? {
                    0 => string(&mut block)?,
                    index => static_field(index)?.0.into(),
                };
                fields.push((name, string(&mut block)?));
            }
        }
    }
    Some(fields)
}

fn static_field(index: usize) -> Option<(&'static str, &'static str)> {
    STATIC.get(index.checked_sub(1)?).copied()
}

/// A number in the last `bits` of the first byte and those that follow.
fn number(block: &mut &[u8], bits: u32) -> Option<usize> {
    let (first, mut rest) = block.split_first()?;
    let most = (1 << bits) - 1;
    let mut number = usize::from(first & most);
    if number == usize::from(most) {
        for shift in [0, 7, 14, 21] {
            let (byte, next) = rest.split_first()?;
            rest = next;
            number += usize::from(byte & 127) << shift;
            if byte & 128 == 0 {
                break;
            }
        }
    }
    *block = rest;
    Some(number)
}

fn string(block: &mut &[u8]) -> Option<Vec<u8>> {
    let compressed = block.first()? & 0x80 != 0;
    let length = number(block, 7)?;
    let (text, rest) = block.split_at_checked(length)?;
    *block = rest;
    if compressed { decompress(text) } else { Some(text.into()) }
}

/// The code is canonical: of two symbols, the one with the shorter code comes first, and else the smaller one.
fn decompress(text: &[u8]) -> Option<Vec<u8>> {
    let mut symbols: Vec<u8> = (0..=255).collect();
    symbols.sort_by_key(|symbol| (LENGTHS[usize::from(*symbol)], *symbol));
    let bits = text.iter().flat_map(|byte| (0..8).rev().map(move |bit| u64::from(byte >> bit & 1)));
    let (mut decoded, mut code, mut length, mut ones) = (Vec::new(), 0, 0, true);
    for bit in bits {
        (code, length, ones) = (code << 1 | bit, length + 1, ones && bit == 1);
        if let Some(symbol) = symbol(&symbols, code, length) {
            decoded.push(symbol);
            (code, length, ones) = (0, 0, true);
        }
    }
    // What is left is padding: less than a byte of ones.
    (ones && length < 8).then_some(decoded)
}

/// The symbol whose code this is.
fn symbol(symbols: &[u8], code: u64, length: u8) -> Option<u8> {
    let (mut first, mut from) = (0u64, 0);
    for shorter in 5..=length {
        let count =
            symbols[from..].iter().take_while(|symbol| LENGTHS[usize::from(**symbol)] == shorter).count();
        if shorter == length {
            let at = usize::try_from(code.checked_sub(first)?).ok()?;
            return (at < count).then(|| symbols[from + at]);
        }
        first = (first + count as u64) << 1;
        from += count;
    }
    None
}

/// Of the code of each byte, in bits (RFC 7541, appendix B).
#[rustfmt::skip]
const LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28,
    28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6,
    6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7,
    8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7,
    15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24,
    23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23,
    23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26,
    26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20,
    21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27,
    27, 27, 26,
];

/// RFC 7541, appendix A.
#[rustfmt::skip]
const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_the_rfc_are_read() {
        // RFC 7541, C.4.1, and C.6.1 but for the table.
        let block = b"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff";
        let fields = decode(block).unwrap();
        assert_eq!(fields[3], (b":authority".to_vec(), b"www.example.com".to_vec()));
        let long = vec![(b"name".to_vec(), vec![b'v'; 70_000])];
        assert_eq!(decode(&encode(&long)).unwrap(), long);
    }
}
