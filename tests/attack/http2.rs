//! Frames of HTTP/2, made by hand: no library would send these.

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const WINDOW_UPDATE: u8 = 8;

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// The largest window that there may be.
const LARGEST: u32 = 0x7fff_ffff;
const INITIAL_WINDOW: u32 = 65_535;

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The client's preface and settings that set no bound to what the server may send.
pub fn hello() -> Vec<u8> {
    let initial_window = [&4_u16.to_be_bytes()[..], &LARGEST.to_be_bytes()].concat();
    let grown = (LARGEST - INITIAL_WINDOW).to_be_bytes();
    [PREFACE, &frame(SETTINGS, 0, 0, &initial_window), &frame(WINDOW_UPDATE, 0, 0, &grown)].concat()
}

/// A whole GET without a body.
pub fn get(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &get_fields(path))
}

/// `:method GET`, `:scheme https`, `:path` and `:authority`, none of them put into the dynamic table.
pub fn get_fields(path: &str) -> Vec<u8> {
    let literal = |index: u8, value: &str| [&[index, value.len() as u8], value.as_bytes()].concat();
    [&[0x82, 0x87][..], &literal(4, path), &literal(1, "payments.shop.svc")].concat()
}
