//! Exchanges from a seed: what clients and apps may send by RFC 9110, 9112 and 9113, common and odd.

use super::exchange::{Chunks, Exchange, Field, Framing, Request, Response, field};
use crate::random::Random;

const HOST: &str = "payments.shop.svc";

const METHODS: &[&str] = &[
    "GET",
    "GET",
    "GET",
    "GET",
    "GET",
    "POST",
    "POST",
    "POST",
    "POST",
    "PUT",
    "PUT",
    "HEAD",
    "HEAD",
    "DELETE",
    "PATCH",
    "OPTIONS",
    "PROPFIND",
    "M-SEARCH",
    "REPORT",
    "QUERY",
    "get",
    "x!#$%&'*+-.^_`|~1",
];

const TARGETS: &[&[u8]] = &[
    b"/",
    b"/index.html",
    b"/a/b/c",
    b"/a/b/?",
    b"/a?b=c&d=e",
    b"/a?b=c?d=/e",
    b"/?",
    b"/a%20b",
    b"/a%2Fb%2f",
    b"/%41%5a?%7E=%7e",
    b"//a//b",
    b"/a/../b",
    b"/a/./b",
    b"/a/b/..",
    b"/./",
    b"/a;p=1;q/b",
    b"/a:b@c!$&'()*+,=",
    b"/~user/-._",
    b"/q?q=up{job=\"x\"}",
    b"/q?a|b",
    b"/q?a^b",
    b"/q?a`b",
    b"/q?a\\b",
    b"/q?<a>",
    b"/q?[a]",
    b"/p{a}",
    b"/p|a",
    b"/p^a",
    b"/p\"a\"",
    b"/p[a]",
    b"/p<a>",
    b"/p\\a",
    b"/p`a",
    b"/%",
    b"/%zz",
    b"/a?%",
    b"/a?%zz",
    b"/caf\xc3\xa9",
    b"/q?caf\xc3\xa9",
    b"/q?\xff\xfe",
    b"/%E2%82%AC",
    b"/q?a=b&a=b&&=&c",
    b"/*",
    b"/a?*",
    b"/.",
    b"/a+b?c+d",
    b"/%2e%2e/a",
    b"/%00",
    b"/a?%0d%0a",
];

/// Of HTTP/1 alone.
const ABSOLUTE: &[&[u8]] = &[
    b"http://payments.shop.svc/a",
    b"http://payments.shop.svc",
    b"http://payments.shop.svc?a=b",
    b"http://other.shop.svc:8080/a/b?c",
    b"http://payments.shop.svc//a/../b?{\"x\"}",
];

const FIELDS: &[(&str, &[u8])] = &[
    ("Accept", b" */*"),
    ("accept", b"text/html;q=0.5, */*;q=0.1"),
    ("ACCEPT-ENCODING", b" gzip, br"),
    ("User-Agent", b" tests/1.0 (odd; \"quoted\")"),
    ("Content-Type", b" text/plain; charset=utf-8"),
    ("Content-Encoding", b" gzip"),
    ("Cookie", b" a=b; c=d"),
    ("Cookie", b" e=f"),
    ("Authorization", b" Basic eDp5"),
    ("Range", b" bytes=0-1"),
    ("If-None-Match", b" \"a\", W/\"b\""),
    ("If-Modified-Since", b" Sat, 29 Oct 1994 19:43:31 GMT"),
    ("Via", b" 1.0 fred, 1.1 p.example.net"),
    ("Via", b" 1.1 other"),
    ("Max-Forwards", b" 3"),
    ("Referer", b" http://a/{b}"),
    ("Forwarded", b" for=192.0.2.43, for=\"[2001:db8::17]\";proto=http"),
    ("X-Forwarded-For", b" 192.0.2.1, 192.0.2.2"),
    ("X-Forwarded-Proto", b" ftp"),
    ("X-Forwarded-Host", b" evil.test"),
    ("X-Forwarded-Client-Cert", b" evil"),
    ("traceparent", b" 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ("tracestate", b" a=b"),
    ("X-Empty", b""),
    ("X-Empty", b"   "),
    ("X-Tab", b"\ta\tb\t"),
    ("X-Spaces", b"    a   b    "),
    ("X-No-Space", b"a"),
    ("X-Same", b" one"),
    ("X-Same", b" two"),
    ("x-same", b" one"),
    ("X-Same", b" three, four"),
    ("X-Same", b""),
    ("X-Obs", b" caf\xe9 \xff"),
    ("X-Utf8", b" \xe2\x82\xac"),
    ("X-Odd", b" !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"),
    ("x!#$%&'*+-.^_`|~", b" odd name"),
    ("X_Under_Score", b" 1"),
    ("1", b" digit"),
    ("X-Colon", b" :a:b:"),
    ("X.Dot", b" 1"),
    ("Cache-Control", b" no-cache"),
    ("Pragma", b" no-cache"),
    ("Origin", b" null"),
    ("Date", b" Tue, 15 Nov 1994 08:12:31 GMT"),
    ("Priority", b" u=1"),
    ("X-Request-Id", b" 1"),
    ("Content-Language", b" de"),
    ("Proxy-Authorization", b" Basic eDp5"),
    ("Trailer", b" x-not-sent"),
    ("Idempotency-Key", b" \"k\""),
    ("Warning", b" 199 - \"w\""),
    ("Digest", b" sha-256=a"),
    ("Content-Range", b" bytes 0-1/2"),
    ("Last-Event-ID", b" 7"),
    ("Sec-Fetch-Mode", b" cors"),
    ("DNT", b" 1"),
    ("From", b" a@b"),
];

/// Of HTTP/1 alone, in lines that belong together.
const HOP_FIELDS: &[&[(&str, &[u8])]] = &[
    &[("Connection", b" x-hop"), ("X-Hop", b" 1"), ("x-hop", b" 2")],
    &[("Connection", b" keep-alive, X-Hop"), ("X-Hop", b" 1"), ("Keep-Alive", b" timeout=5")],
    &[("Connection", b" keep-alive")],
    &[("Keep-Alive", b" timeout=5, max=10")],
    &[("Proxy-Connection", b" keep-alive")],
    &[("TE", b" trailers"), ("Connection", b" TE")],
    &[("TE", b" gzip;q=0.5, trailers"), ("Connection", b" te")],
    &[("TE", b"")],
    &[("Connection", b" Host, Content-Length")],
    &[("Connection", b""), ("Connection", b" ,, ")],
    &[("Upgrade", b" other/1")],
];

const RESPONSE_FIELDS: &[(&str, &[u8])] = &[
    ("Content-Type", b" text/html"),
    ("Content-Type", b" application/octet-stream"),
    ("ETag", b" \"a\""),
    ("ETag", b" W/\"b\""),
    ("Set-Cookie", b" a=b; Path=/"),
    ("Set-Cookie", b" c=d, e; HttpOnly"),
    ("set-cookie", b" a=b; Path=/"),
    ("Set-Cookie", b""),
    ("Date", b" Tue, 15 Nov 1994 08:12:31 GMT"),
    ("Server", b" app/1"),
    ("Location", b" http://127.0.0.1/a b"),
    ("Location", b" /c?d={e}"),
    ("WWW-Authenticate", b" Basic realm=\"a, b\""),
    ("WWW-Authenticate", b" Bearer"),
    ("Via", b" 1.1 inner"),
    ("Vary", b" *"),
    ("Age", b" 7"),
    ("Cache-Control", b" max-age=1"),
    ("Last-Modified", b" Tue, 15 Nov 1994 08:12:31 GMT"),
    ("Accept-Ranges", b" bytes"),
    ("Allow", b""),
    ("Content-Range", b" bytes 0-1/2"),
    ("Content-Encoding", b" gzip"),
    ("Link", b" </a>; rel=preload"),
    ("Link", b" </b>"),
    ("Retry-After", b" 1"),
    ("X-Empty", b""),
    ("X-Same", b" one"),
    ("X-Same", b" two"),
    ("x-same", b" one"),
    ("X-Obs", b" caf\xe9 \xff"),
    ("X-Tab", b"\ta\tb\t"),
    ("X_Under_Score", b" 1"),
    ("x!#$%&'*+-.^_`|~", b" odd"),
    ("X-Odd", b" !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"),
    ("Expires", b" 0"),
    ("Pragma", b" no-cache"),
    ("Alt-Svc", b" clear"),
    ("Content-Disposition", b" attachment; filename=\"\xe2\x82\xac\""),
    ("Warning", b" 199 - \"w\""),
    ("Trailer", b" x-not-sent"),
    ("Strict-Transport-Security", b" max-age=1"),
    ("Proxy-Authenticate", b" Basic realm=a"),
    ("Server-Timing", b" a;dur=1"),
    ("Refresh", b" 5"),
    ("X-Forwarded-For", b" echoed"),
    ("Content-Location", b" /x"),
    ("Access-Control-Allow-Origin", b" *"),
    ("Content-Language", b" de"),
];

const RESPONSE_HOP_FIELDS: &[&[(&str, &[u8])]] = &[
    &[("Connection", b" x-hop"), ("X-Hop", b" 1")],
    &[("Keep-Alive", b" timeout=5")],
    &[("Proxy-Connection", b" keep-alive")],
    &[("Connection", b" keep-alive, x-hop"), ("X-Hop", b"")],
];

const STATUSES: &[(u16, &[u8])] = &[
    (200, b"OK"),
    (200, b"OK"),
    (200, b"OK"),
    (200, b"OK"),
    (200, b""),
    (200, b"All \xe9 odd\tHere"),
    (201, b"Created"),
    (202, b"Accepted"),
    (203, b"X"),
    (204, b"No Content"),
    (204, b""),
    (205, b"Reset Content"),
    (206, b"Partial Content"),
    (226, b"IM Used"),
    (299, b"Custom"),
    (300, b"Many"),
    (301, b"Moved"),
    (302, b"Found"),
    (303, b"See"),
    (304, b"Not Modified"),
    (304, b"Not Modified"),
    (307, b"T"),
    (308, b"P"),
    (400, b"Bad Request"),
    (401, b"Who"),
    (403, b"No"),
    (404, b"Not Found"),
    (405, b"N"),
    (409, b"C"),
    (410, b"Gone"),
    (413, b"Too Large"),
    (416, b"Range"),
    (418, b"I'm a teapot"),
    (421, b"M"),
    (422, b"U"),
    (425, b"Too Early"),
    (429, b"Slow"),
    (431, b"F"),
    (451, b"L"),
    (499, b"C"),
    (500, b"Error"),
    (501, b"N"),
    (502, b"Bad Gateway"),
    (503, b"Unavailable"),
    (504, b"T"),
    (505, b"V"),
    (511, b"N"),
    (599, b"Custom"),
];

const EXTENSIONS: &[&str] = &["", "", ";a", ";a=b", " ;a=b", ";a=\"b c\"", ";a=b;c=d", ";"];

pub fn exchange(seed: u64, index: u64) -> Exchange {
    let mut random = Random::of(seed, index);
    let random = &mut random;
    let http2 = random.chance(35);
    let count = if random.chance(25) { 2 + random.below(3) } else { 1 };
    let pipelined = !http2 && count > 1 && random.chance(60);
    let may_half_close = !http2 && random.chance(4);
    let requests = (1..=count).map(|at| {
        let mut request = request(random, http2, pipelined, at == count);
        request.fields.push(field(super::app::TAG, format!("{index}.{}", at - 1)));
        request
    });
    let requests: Vec<_> = requests.collect();
    // Whoever said that nothing follows cannot be asked for a body.
    let half_close = may_half_close && !requests.iter().any(|request| request.expects);
    Exchange { index, http2, first: 0, requests, pipelined, half_close }
}

fn request(random: &mut Random, http2: bool, pipelined: bool, last: bool) -> Request {
    let method = random.pick(METHODS);
    let minor = u8::from(http2 || !last || !random.chance(12));
    let mut fields = fields(random, FIELDS, HOP_FIELDS, http2);
    if minor == 0 && random.chance(50) {
        fields.push(field("Connection", "keep-alive"));
    } else if !http2 && last && random.chance(4) {
        fields.push(field("Connection", "close"));
    }
    if http2 {
        fields.retain(|(name, _)| !name.eq_ignore_ascii_case("cookie"));
        if random.chance(8) {
            fields.extend([field("te", "trailers")]);
        }
    }
    let has_body = match method {
        "POST" | "PUT" | "PATCH" | "REPORT" | "QUERY" => random.chance(90),
        "HEAD" => false,
        _ => random.chance(12),
    };
    let length = length(random);
    let framing = match (has_body, random.below(2)) {
        (false, _) => Framing::None,
        (true, 0) => Framing::Length,
        _ if minor == 0 => Framing::Length,
        _ => Framing::Chunked(chunks(random, length)),
    };
    let length = if has_body { length } else { 0 };
    let trailers = match framing {
        Framing::Chunked(_) if random.chance(30) => trailers(random, &mut fields),
        _ => Vec::new(),
    };
    let expects = has_body && length > 0 && minor > 0 && !pipelined && random.chance(12);
    let target = match (method, http2) {
        ("OPTIONS", _) if random.chance(50) => b"*".to_vec(),
        (_, false) if random.chance(6) => random.choose(ABSOLUTE).to_vec(),
        _ if random.chance(2) => [b"/long?", "x".repeat(1000 + random.below(12_000)).as_bytes()].concat(),
        _ => random.choose(TARGETS).to_vec(),
    };
    let host = if minor == 0 && random.chance(50) {
        None
    } else {
        Some(random.choose(&[
            HOST,
            HOST,
            "payments.shop.svc:8443",
            "10.1.2.3",
            "[fd00::1]:80",
            "Payments.SHOP.svc.",
        ]))
    };
    let host = if target.starts_with(b"http:") { Some(HOST) } else { host };
    let response = response(random, method, last, has_body, expects);
    if !response.trailers.is_empty() && random.chance(60) {
        fields.push(field("TE", "trailers"));
        fields.extend((!http2 && random.chance(50)).then(|| field("Connection", "TE")));
    }
    Request { method, target, minor, host, fields, framing, length, trailers, expects, response }
}

fn response(random: &mut Random, method: &str, last: bool, has_body: bool, expects: bool) -> Response {
    let early = has_body && last && random.chance(6);
    let (status, reason) = match early {
        true => random.choose(&[(413, &b"Too Large"[..]), (401, b"Who"), (417, b"No"), (200, b"OK")]),
        false => random.choose(STATUSES),
    };
    let mut fields = fields(random, RESPONSE_FIELDS, RESPONSE_HOP_FIELDS, false);
    fields.push(field("X-App", "1"));
    let length = length(random);
    let framing = match random.below(100) {
        _ if status == 204 => Framing::None,
        0..45 => Framing::Length,
        45..78 => Framing::Chunked(chunks(random, length)),
        78..90 if last => Framing::Close,
        90..93 => Framing::ChunkedAndLength,
        93..95 => Framing::TwoLengths,
        95..97 => Framing::ListedLengths,
        _ => Framing::Length,
    };
    let trailers = match framing {
        Framing::Chunked(_) if random.chance(30) => trailers(random, &mut fields),
        _ => Vec::new(),
    };
    let interim = if random.chance(7) { interim(random, expects) } else { Vec::new() };
    let minor = u8::from(
        !(last && matches!(framing, Framing::Length | Framing::Close | Framing::None) && random.chance(12)),
    );
    // Of what ends with the connection nobody sees that something is missing.
    let can_break =
        last && length > 1 && framing == Framing::Length || matches!(framing, Framing::Chunked(_)) && last;
    let broken = can_break && method != "HEAD" && status != 304 && random.chance(4);
    Response { interim, minor, status, reason, fields, framing, length, trailers, early, broken }
}

fn interim(random: &mut Random, expects: bool) -> Vec<(u16, Vec<Field>)> {
    let link = || field("Link", "</style.css>; rel=preload");
    match random.below(if expects { 2 } else { 4 }) {
        0 => vec![(103, vec![link()])],
        1 => vec![(103, vec![link(), field("X-Empty", "")]), (103, vec![link(), link()])],
        2 => vec![(102, vec![])],
        _ => vec![(100, vec![]), (103, vec![link()])],
    }
}

fn fields(
    random: &mut Random,
    from: &[(&str, &[u8])],
    of_hop: &[&[(&str, &[u8])]],
    http2: bool,
) -> Vec<Field> {
    let count = random.below(7);
    let of = |(name, value): (&str, &[u8])| (name.to_owned(), value.to_vec());
    let mut fields: Vec<_> = (0..count).map(|_| of(random.choose(from))).collect();
    if !http2 && random.chance(12) {
        fields.extend(random.choose(of_hop).iter().copied().map(of));
    }
    if random.chance(3) {
        let length = 1000 + random.below(12_000);
        fields.push(field("X-Long", "v".repeat(length)));
    }
    if random.chance(2) {
        fields.extend(
            (0..90 + random.below(60)).map(|at| field(&format!("X-Many-{}", at / 2), at.to_string())),
        );
    }
    fields
}

fn trailers(random: &mut Random, fields: &mut Vec<Field>) -> Vec<Field> {
    let all = [
        field("X-Checksum", "abc"),
        field("X-Checksum", "def"),
        field("X-Other", ""),
        field("Server-Timing", "a, b"),
    ];
    let trailers: Vec<_> = (0..=random.below(3)).map(|_| all[random.below(all.len())].clone()).collect();
    fields.retain(|(name, _)| !name.eq_ignore_ascii_case("trailer"));
    if random.chance(75) {
        let mut names: Vec<_> = trailers.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        fields.push(field("Trailer", names.join(", ")));
    }
    trailers
}

fn chunks(random: &mut Random, length: usize) -> Chunks {
    // Few of a large body: each is a line to parse.
    let sizes: &[usize] =
        if length > 1000 { &[1000, 4096, 16_384, 65_536, 65_537] } else { &[1, 2, 7, 16, 255, 4096] };
    Chunks {
        size: random.choose(sizes),
        zeros: if random.chance(15) { 1 + random.below(6) } else { 0 },
        upper: random.chance(30),
        extension: random.pick(EXTENSIONS),
    }
}

fn length(random: &mut Random) -> usize {
    match random.below(400) {
        0..60 => 0,
        60..120 => 1,
        120..370 => random.below(400),
        370..390 => 16_384 - 5 + random.below(10),
        390..398 => 65_536,
        _ => 1 << 20,
    }
}
