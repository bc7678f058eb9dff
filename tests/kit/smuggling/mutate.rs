//! Inputs from a seed: those of a corpus, and requests made of odd parts, with a few bytes, lines or fields changed.

use super::input::{Http2Request, Input};
use crate::http2::Part;
use crate::random::Random;

/// What parsers have disagreed about.
const TOKENS: &[&[u8]] = &[
    b"\r",
    b"\n",
    b"\0",
    b"\t",
    b" ",
    b"\x0b",
    b"\x0c",
    b"\x7f",
    b"\x85",
    b"\xa0",
    b"\xff",
    b"\xc4\x8d",
    b":",
    b";",
    b",",
    b"\"",
    b"=",
    b"#",
    b"\r\n",
    b"\n\n",
    b"\r\r\n",
    b"\r\n ",
    b"\r\n\t",
    b"\r\n\r\n",
    b"\n\r\n",
    b"0",
    b"0x",
    b"+",
    b"-",
    b"_",
    b"1_0",
    b"00000000000000000000",
    b"ffffffffffffffff",
    b"10000000000000000",
    b"chunked",
    b"identity",
    b"chunked, chunked",
    b", chunked",
    b"chunked,",
    b"HTTP/1.1",
    b"HTTP/1.0",
    b"HTTP/0.9",
    b"HTTP/1.2",
    b"http/1.1",
    b"\r\nContent-Length: 5",
    b"\r\nContent-Length: 0",
    b"\r\nContent-Length:",
    b"\r\nContent-Length : 5",
    b"\r\n Content-Length: 5",
    b"\r\nContent_Length: 5",
    b"\r\nTransfer-Encoding: chunked",
    b"\r\nTransfer-Encoding : chunked",
    b"\r\nTransfer-Encoding:\tchunked",
    b"\r\nTransfer-Encoding: xchunked",
    b"\r\nTransfer-Encoding:\r\n chunked",
    b"\r\nTransfer_Encoding: chunked",
    b"\r\nTransfer-Encoding: \"chunked\"",
    b"\r\nTRANSFER-ENCODING: CHUNKED",
    b"\nTransfer-Encoding: chunked",
    b"\rTransfer-Encoding: chunked",
    b"\r\nHost: b.test",
    b"\r\nHost:",
    b"\r\nConnection: close",
    b"\r\nConnection: Content-Length",
    b"\r\nConnection: Transfer-Encoding, Host",
    b"\r\nExpect: 100-continue",
    b"\r\nUpgrade: h2c",
    b"\r\nX-Forwarded-Client-Cert: evil",
    b"\r\nX_Forwarded_Client-Cert: evil",
    b"GET /next HTTP/1.1\r\nHost: a.test\r\n\r\n",
    b"0\r\n\r\n",
    b"5\r\nhello\r\n",
    b"http://b.test",
    b"http://",
    b"//b.test/",
    b"*",
    b"@",
    b"[",
    b"]",
    b"%00",
    b"%0d%0a",
    b"\\",
];

const NAMES: &[&str] = &[
    "X-A",
    "Content-Length",
    "Transfer-Encoding",
    "Host",
    "Connection",
    "TE",
    "Trailer",
    "Expect",
    "Upgrade",
    "Cookie",
];
const VALUES: &[&str] = &[
    "5",
    "0",
    "chunked",
    "a.test",
    "close",
    "keep-alive",
    "x",
    "",
    "5, 5",
    "+5",
    "0x5",
    "identity",
    "gzip, chunked",
    "trailers",
    "100-continue",
];
const METHODS: &[&str] =
    &["GET", "POST", "PUT", "HEAD", "OPTIONS", "DELETE", "TRACE", "CONNECT", "get", "PRI"];
const TARGETS: &[&str] =
    &["/", "/a?b", "*", "http://{sink}/a", "http://a.test/", "//a", "a.test:80", "/a b", "", "/a#b"];
const BODIES: &[&[u8]] = &[
    b"",
    b"hello",
    b"5\r\nhello\r\n0\r\n\r\n",
    b"0\r\n\r\n",
    b"5;a=b\r\nhello\r\n0\r\nX-T: 1\r\n\r\n",
    b"05\r\nhello\r\n000\r\n\r\n",
    b"GET /in HTTP/1.1\r\nHost: a.test\r\n\r\n",
    b"5\nhello\n0\n\n",
    b"5\r\nhelloX\r\n0\r\n\r\n",
];

/// The same for the same seed, index and corpus.
pub fn input(seed: u64, index: u64, corpus: &[Input]) -> Input {
    let random = &mut Random::of(seed, index);
    let mut input = match random.below(10) {
        0..5 => corpus[random.below(corpus.len())].clone(),
        _ => Input::Http1(request(random)),
    };
    for _ in 0..=random.below(4) {
        match &mut input {
            Input::Http1(bytes) => bytes_changed(random, bytes, corpus),
            Input::Http2(request) => fields_changed(random, request),
        }
    }
    if let Input::Http1(bytes) = &mut input {
        bytes.truncate(4096);
    }
    input
}

fn request(random: &mut Random) -> Vec<u8> {
    let version = random.pick(&["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0"]);
    let mut text = format!("{} {} {version}\r\n", random.pick(METHODS), random.pick(TARGETS));
    if random.chance(85) {
        text += "Host: a.test\r\n";
    }
    for _ in 0..random.below(4) {
        text += &format!("{}: {}\r\n", random.pick(NAMES), random.pick(VALUES));
    }
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(random.pick(BODIES));
    bytes
}

fn bytes_changed(random: &mut Random, bytes: &mut Vec<u8>, corpus: &[Input]) {
    let at = random.below(bytes.len() + 1);
    match random.below(12) {
        0..4 => drop(bytes.splice(at..at, random.pick(TOKENS).iter().copied())),
        4 => drop(bytes.splice(at..(at + 1).min(bytes.len()), [])),
        5 => drop(bytes.splice(at..(at + 1).min(bytes.len()), random.pick(TOKENS).iter().copied())),
        // A line twice, elsewhere, or not at all.
        6..9 => {
            let mut lines: Vec<Vec<u8>> =
                bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
            if lines.is_empty() {
                return;
            }
            let (from, to) = (random.below(lines.len()), random.below(lines.len()));
            match random.below(3) {
                0 => lines.insert(to, lines[from].clone()),
                1 => lines.swap(from, to),
                _ => drop(lines.remove(from)),
            }
            *bytes = lines.concat();
        }
        9 => {
            let mut other = Vec::new();
            if let Input::Http1(taken) = &corpus[random.below(corpus.len())] {
                other.clone_from(taken);
            }
            bytes.extend(other);
        }
        10 => {
            // Another end of a line.
            let ends: Vec<_> =
                bytes.windows(2).enumerate().filter(|(_, pair)| *pair == b"\r\n").map(|(at, _)| at).collect();
            if let Some(end) = (!ends.is_empty()).then(|| ends[random.below(ends.len())]) {
                bytes.splice(
                    end..end + 2,
                    random.pick(&[&b"\n"[..], b"\r", b"\r\r\n", b"\n\r", b" \r\n"]).iter().copied(),
                );
            }
        }
        _ => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte =
                    if random.chance(50) { *byte ^ (1 << random.below(8)) } else { random.number() as u8 };
            }
        }
    }
}

fn fields_changed(random: &mut Random, request: &mut Http2Request) {
    let count = request.fields.len();
    let at = random.below(count.max(1));
    let text = |text: &str| text.to_ascii_lowercase().into_bytes();
    match random.below(9) {
        0..3 if count > 0 => {
            let (name, value) = &mut request.fields[at];
            let of = if random.chance(40) { name } else { value };
            let place = random.below(of.len() + 1);
            of.splice(place..place, random.pick(TOKENS).iter().copied());
        }
        3 if count > 0 => request.fields.insert(random.below(count), request.fields[at].clone()),
        4 if count > 0 => drop(request.fields.remove(at)),
        5 if count > 0 => request.fields.swap(at, random.below(count)),
        6 => request
            .parts
            .insert(random.below(request.parts.len() + 1), Part::Data(random.pick(BODIES).to_vec())),
        7 => {
            request.parts.retain(|part| !matches!(part, Part::Trailers(_)));
            request.parts.push(Part::Trailers(vec![(text(random.pick(NAMES)), text(random.pick(VALUES)))]));
        }
        _ => request.fields.push((text(random.pick(NAMES)), text(random.pick(VALUES)))),
    }
}
