//! Header blocks (RFC 7541). What is sent goes through the dynamic table, as clients and servers of gRPC do it: a
//! field is spelled the first time and a byte from then on. Of what comes, only what tells a good answer from
//! another is understood, and strings are compared as they are, so that nothing needs to be decompressed.

use std::collections::VecDeque;
use std::io;

/// The default size of the dynamic table, for which few short fields are little.
pub const TABLE: u32 = 4096;
/// That table's entries at most: each counts for 32 bytes and its strings.
const ENTRIES: usize = TABLE as usize / 32;
/// Indices up to this one are the static table's.
const STATIC: usize = 61;

#[derive(Clone, Copy, Debug)]
pub struct Field {
    pub name: &'static str,
    pub value: &'static str,
    pub known: Known,
}

/// How much of a field the static table has.
#[derive(Clone, Copy, Debug)]
pub enum Known {
    Whole(u8),
    Name(u8),
    Nothing,
}

/// Puts every field into the dynamic table, which never has to lose one; or none, if the other side keeps a
/// smaller table than that.
#[derive(Default)]
pub struct Encoder {
    table: Vec<(&'static str, &'static str)>,
    without_table: bool,
    /// The next block has to say so.
    to_be_told: bool,
}

impl Encoder {
    pub fn use_no_table(&mut self) {
        self.table.clear();
        self.to_be_told = !self.without_table;
        self.without_table = true;
    }

    pub fn encode(&mut self, fields: &[Field], block: &mut Vec<u8>) {
        if std::mem::take(&mut self.to_be_told) {
            block.push(0x20);
        }
        // A literal that becomes an entry or one that does not.
        let literal = if self.without_table { 0 } else { 0x40 };
        for Field { name, value, known } in fields {
            let said = self.table.iter().rev().position(|field| *field == (*name, *value));
            match (known, said) {
                (Known::Whole(index), _) => block.push(0x80 | index),
                (_, Some(age)) => block.push(0x80 | (STATIC + 1 + age) as u8),
                (_, None) => {
                    match known {
                        // More than fits beside the kind of literal goes into a byte of its own.
                        Known::Name(index @ 15..) if self.without_table => block.extend([0x0f, index - 15]),
                        Known::Name(index) => block.push(literal | index),
                        _ => {
                            block.push(literal);
                            string(name, block);
                        }
                    }
                    string(value, block);
                    if !self.without_table {
                        self.table.push((name, value));
                    }
                }
            }
        }
    }
}

fn string(text: &str, block: &mut Vec<u8>) {
    debug_assert!(text.len() < 127, "a length of one byte");
    block.push(text.len() as u8);
    block.extend_from_slice(text.as_bytes());
}

/// What a block says of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Whether `:status` is 200.
    pub status: Option<bool>,
    /// Whether `grpc-status` is 0.
    pub grpc_status: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    Status,
    GrpcStatus,
    Other,
}

/// A name, and whether its value is the one that a good answer has.
type Said = (Name, bool);

#[derive(Default)]
pub struct Decoder {
    /// The latest first.
    table: VecDeque<Said>,
}

impl Decoder {
    pub fn decode(&mut self, block: &[u8]) -> io::Result<Head> {
        let mut rest = block;
        self.fields(&mut rest).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, format!("header block {}", block.escape_ascii()))
        })
    }

    /// `None` for what is not a block.
    fn fields(&mut self, rest: &mut &[u8]) -> Option<Head> {
        let mut head = Head::default();
        while let Some(first) = rest.first() {
            let (name, good) = match first {
                0x80.. => self.indexed(integer(rest, 7)?)?,
                0x40.. => {
                    let said = self.literal(rest, 6)?;
                    self.table.push_front(said);
                    self.table.truncate(ENTRIES);
                    said
                }
                // The table's size, of which no entry that is referred to depends.
                0x20.. => {
                    integer(rest, 5)?;
                    continue;
                }
                _ => self.literal(rest, 4)?,
            };
            match name {
                Name::Status => head.status = Some(good),
                Name::GrpcStatus => head.grpc_status = Some(good),
                Name::Other => {}
            }
        }
        Some(head)
    }

    fn indexed(&self, index: usize) -> Option<Said> {
        match index {
            0 => None,
            8 => Some((Name::Status, true)),
            9..=14 => Some((Name::Status, false)),
            _ => match index.checked_sub(STATIC + 1) {
                None => Some((Name::Other, false)),
                Some(age) => self.table.get(age).copied(),
            },
        }
    }

    fn literal(&self, rest: &mut &[u8], bits: u32) -> Option<Said> {
        let name = match integer(rest, bits)? {
            0 => match take(rest)? {
                Text { huffman: false, bytes: b"grpc-status" }
                | Text { huffman: true, bytes: b"\x9a\xca\xc8\xb2\x12\x34\xda\x8f" } => Name::GrpcStatus,
                _ => Name::Other,
            },
            index => self.indexed(index)?.0,
        };
        let Text { huffman, bytes } = take(rest)?;
        let good = match (name, huffman) {
            (Name::Status, false) => bytes == b"200",
            (Name::Status, true) => bytes == b"\x10\x01",
            (Name::GrpcStatus, false) => bytes == b"0",
            (Name::GrpcStatus, true) => bytes == b"\x07",
            (Name::Other, _) => false,
        };
        Some((name, good))
    }
}

struct Text<'a> {
    huffman: bool,
    bytes: &'a [u8],
}

fn take<'a>(rest: &mut &'a [u8]) -> Option<Text<'a>> {
    let huffman = rest.first()? & 0x80 != 0;
    let length = integer(rest, 7)?;
    let (bytes, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(Text { huffman, bytes })
}

/// One whose first byte has so many bits of it.
fn integer(rest: &mut &[u8], bits: u32) -> Option<usize> {
    let full = (1usize << bits) - 1;
    let (first, mut after) = rest.split_first()?;
    let mut value = usize::from(*first) & full;
    let mut shift = 0;
    let mut more = value == full;
    while more {
        let (byte, left) = after.split_first()?;
        value += usize::from(byte & 0x7f).checked_shl(shift).filter(|_| shift < 28)?;
        shift += 7;
        more = byte & 0x80 != 0;
        after = left;
    }
    *rest = after;
    Some(value)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const GOOD: Head = Head { status: Some(true), grpc_status: Some(true) };
    const BAD: Head = Head { status: Some(false), grpc_status: Some(false) };

    #[test]
    fn answers_are_told_apart_in_every_spelling() {
        let fields = [
            // Indexed; literals with and without an entry, plain and compressed.
            (b"\x88\x40\x0bgrpc-status\x010".as_slice(), GOOD),
            (b"\x08\x03200\x00\x0bgrpc-status\x010", GOOD),
            (b"\x48\x82\x10\x01\x10\x88\x9a\xca\xc8\xb2\x12\x34\xda\x8f\x81\x07", GOOD),
            (b"\x20\x8d\x00\x0bgrpc-status\x0213", BAD),
            (b"\x48\x03503\x40\x88\x9a\xca\xc8\xb2\x12\x34\xda\x8f\x82\x0b\x3f", BAD),
            (b"\x5f\x10application/grpc", Head::default()),
        ];
        for (block, head) in fields {
            let mut decoder = Decoder::default();
            assert_eq!(decoder.decode(block).unwrap(), head, "{}", block.escape_ascii());
        }
    }

    #[test]
    fn entries_are_found_by_their_age() {
        let mut decoder = Decoder::default();
        decoder.decode(b"\x40\x0bgrpc-status\x010\x48\x03503").unwrap();
        assert_eq!(decoder.decode(b"\xbe\xbf").unwrap(), Head { status: Some(false), ..GOOD });
        // The name of an older one with a value of its own.
        assert_eq!(decoder.decode(b"\x0f\x30\x015").unwrap(), Head { status: None, ..BAD });
        assert!(decoder.decode(b"\xc0").is_err(), "no such entry");
        assert!(decoder.decode(b"\x40\x0bgrpc").is_err(), "cut");
    }

    #[test]
    fn fields_are_a_byte_each_from_the_second_time_on() {
        let fields = [
            Field { name: ":status", value: "200", known: Known::Whole(8) },
            Field { name: "content-type", value: "application/grpc", known: Known::Name(31) },
            Field { name: "grpc-status", value: "0", known: Known::Nothing },
        ];
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
        for _ in 0..3 {
            let mut block = Vec::new();
            encoder.encode(&fields, &mut block);
            assert_eq!(decoder.decode(&block).unwrap(), GOOD);
        }
        let mut block = Vec::new();
        encoder.encode(&fields, &mut block);
        assert_eq!(block, [0x88, 0xbf, 0xbe]);
    }

    #[test]
    fn other_side_without_a_table_is_sent_literals() {
        let field = Field { name: "content-type", value: "a/b", known: Known::Name(31) };
        let mut encoder = Encoder::default();
        encoder.encode(&[field], &mut Vec::new());
        encoder.use_no_table();
        for (update, literal) in [(&b"\x20"[..], b"\x0f\x10\x03a/b"), (b"", b"\x0f\x10\x03a/b")] {
            let mut block = Vec::new();
            encoder.encode(&[field], &mut block);
            assert_eq!(block, [update, literal].concat());
        }
    }
}
