"""A service that speaks HTTP/2 alone: in the clear with prior knowledge, or over TLS with a client certificate.

Prints its port, and then a line for each event that a test may wait for. By path: `/digest` SHA-256 and length of the
body · `/bytes/N` N bytes · `/echo` what comes, as it comes, and the trailers too · `/hold` never ends · `/stall` reads
nothing · `/reset/CODE` RST_STREAM after the head · `/refuse/CODE` RST_STREAM instead of a head · `/together/N` answers
when N requests are open · `/early` 103, and then as anything else · `/continue` 100, and then as `/digest` ·
`/unexpected` 417 before any body · anything else, what was asked. An extended CONNECT for `websocket` is served as `websocket.py`
serves one, with any other protocol its DATA is said back."""
import argparse
import hashlib
import json
import select
import socket
import ssl
import threading

import h2.events
import h2.exceptions
from h2.settings import SettingCodes
from websockets.frames import Opcode
from websockets.protocol import SERVER, Protocol, State

from http2 import Connection, GoAway, pattern

parser = argparse.ArgumentParser(description=__doc__)
for name in ("cert", "key", "ca"):
    parser.add_argument(f"--{name}")
parser.add_argument("--alpn", default="h2")
parser.add_argument("--streams", type=int, default=1000, help="SETTINGS_MAX_CONCURRENT_STREAMS")
parser.add_argument("--connect-protocol", action="store_true", help="take extended CONNECT")
parser.add_argument("--goaway-after", type=int, default=0, help="GOAWAY with each request of this number")
parser.add_argument("--in-order", action="store_true", help="announce GOAWAY, and take what is under way until then")
options = parser.parse_args()

PATTERN = pattern()
printing = threading.Lock()
waiting = {}
waiting_lock = threading.Lock()


def say(**line):
    with printing:
        print(json.dumps(line), flush=True)


class Stream:
    def __init__(self, number, headers):
        self.number = number
        self.headers = headers
        named = dict(headers)
        self.path = named.get(":path", "")
        self.protocol = named.get(":protocol")
        self.route, _, self.argument = self.path.split("?")[0][1:].partition("/")
        self.socket = None
        if self.protocol == "websocket":
            self.route, self.socket = "websocket", Protocol(SERVER, state=State.OPEN, max_size=8 << 20)
        elif self.protocol:
            self.route = "echo"
        self.digest, self.length = hashlib.sha256(), 0
        self.out, self.sent, self.total = bytearray(), 0, None
        self.in_done = self.out_done = False
        self.trailers = []


class Serve:
    def __init__(self, sock):
        settings = {SettingCodes.MAX_CONCURRENT_STREAMS: options.streams}
        if options.connect_protocol:
            settings[SettingCodes.ENABLE_CONNECT_PROTOCOL] = 1
        self.connection = Connection(sock, False, settings)
        self.h2 = self.connection.h2
        self.streams = {}
        self.requests, self.last, self.lock = 0, None, threading.RLock()
        say(event="connection")

    def run(self):
        while True:
            sock = self.connection.sock
            # Another thread may write, which OpenSSL does not take while it reads.
            if not (tls and sock.pending()):
                select.select([sock], [], [])
            with self.lock:
                data = sock.recv(1 << 16)
                if not data:
                    break
                for event in self.connection.take(data):
                    self.on(event)
                for stream in list(self.streams.values()):
                    self.pump(stream)
                self.connection.flush()
        say(event="closed")

    def on(self, event):
        match event:
            case h2.events.RequestReceived():
                self.request(event)
            case h2.events.DataReceived():
                stream = self.streams.get(event.stream_id)
                if stream is None:
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                    return
                stream.digest.update(event.data)
                stream.length += len(event.data)
                if stream.route == "stall":
                    return
                if stream.socket:
                    stream.socket.receive_data(event.data)
                    self.websocket(stream)
                if stream.route == "echo":
                    # Room for as much again only when it has been said back.
                    stream.out += event.data
                    padding = event.flow_controlled_length - len(event.data)
                    self.acknowledge(padding, stream.number)
                else:
                    self.acknowledge(event.flow_controlled_length, stream.number)
            case h2.events.TrailersReceived():
                if stream := self.streams.get(event.stream_id):
                    stream.trailers = list(event.headers)
            case h2.events.StreamEnded():
                if stream := self.streams.get(event.stream_id):
                    stream.in_done = True
                    self.ended(stream)
            case h2.events.StreamReset():
                if stream := self.streams.pop(event.stream_id, None):
                    say(event="reset", path=stream.path, code=int(event.error_code))
            case h2.events.PingAckReceived():
                self.last = self.h2.highest_inbound_stream_id
                self.go_away(self.last)
            case GoAway():
                say(event="goaway", code=event.error_code)

    def websocket(self, stream):
        socket = stream.socket
        for frame in socket.events_received():
            words = frame.data.decode().split(" ") if frame.opcode is Opcode.TEXT else [""]
            match frame.opcode, words:
                case Opcode.TEXT, ["headers"]:
                    socket.send_text(json.dumps({"path": stream.path, "headers": stream.headers}).encode())
                case Opcode.TEXT, ["ping"]:
                    socket.send_ping(b"of the server")
                case Opcode.TEXT, ["close", code, *reason]:
                    socket.send_close(int(code), " ".join(reason))
                case Opcode.PONG, _:
                    socket.send_text(b"ponged")
                case Opcode.TEXT, _:
                    socket.send_text(frame.data)
                case Opcode.BINARY, _:
                    socket.send_binary(frame.data)
        stream.out += b"".join(socket.data_to_send())
        if socket.state is State.CLOSING and socket.close_rcvd:
            stream.out_done = True
            say(closed=socket.close_rcvd.code, reason=socket.close_rcvd.reason)

    def go_away(self, last):
        """h2 would end the connection at once; the requests that came before go on. The other side closes when it has
        all answers: this one would reset the connection if it did with something unread."""
        self.connection.flush()
        self.connection.sock.sendall(GoAway(0, last_stream_id=last).serialize())
        say(event="goes away", last=last)

    def acknowledge(self, length, number):
        if length:
            self.h2.acknowledge_received_data(length, number)

    def request(self, event):
        # What came with the answer to the PING, after it, is counted among those that are taken.
        if self.last is not None and event.stream_id > self.last:
            return
        stream = Stream(event.stream_id, list(event.headers))
        self.requests += 1
        self.streams[stream.number] = stream
        if self.requests == options.goaway_after:
            if options.in_order:
                self.go_away((1 << 31) - 1)
                self.h2.ping(b"lastcall")
            else:
                self.last = stream.number
                self.go_away(self.last)
        if stream.protocol:
            say(event="connect", protocol=stream.protocol)
            if not options.connect_protocol:
                stream.route, stream.argument = "refuse", "1"
        match stream.route:
            case "echo" | "hold" | "stall":
                self.head(stream)
                if stream.route != "echo":
                    say(event=stream.route, path=stream.path)
            case "early":
                self.h2.send_headers(stream.number, [(":status", "103"), ("link", "</style.css>; rel=preload")])
            case "continue":
                self.h2.send_headers(stream.number, [(":status", "100")])
                stream.route = "digest"
            case "unexpected":
                self.h2.send_headers(stream.number, [(":status", "417")], end_stream=True)
                self.streams.pop(stream.number)
            case "websocket":
                offered = dict(stream.headers).get("sec-websocket-protocol", "")
                self.head(stream, [("sec-websocket-protocol", "echo.v2")] if "echo.v2" in offered else [])
            case "bytes":
                stream.total = int(stream.argument)
                self.head(stream, [("content-length", stream.argument)])
            case "reset":
                self.head(stream)
                self.reset(stream)
            case "refuse":
                self.reset(stream)
            case "together":
                together(self, stream)

    def head(self, stream, more=()):
        self.h2.send_headers(stream.number, [(":status", "200"), *more])

    def reset(self, stream):
        self.h2.reset_stream(stream.number, int(stream.argument))
        self.streams.pop(stream.number)

    def ended(self, stream):
        if stream.route in ("echo", "hold", "stall", "bytes", "together", "websocket"):
            return
        if stream.route == "digest":
            answer = {"sha256": stream.digest.hexdigest(), "length": stream.length}
        else:
            answer = {"headers": stream.headers, "trailers": stream.trailers, "length": stream.length}
        self.answer(stream, answer)

    def answer(self, stream, answer):
        self.head(stream, [("content-type", "application/json")])
        stream.out += json.dumps(answer).encode()
        stream.out_done = True

    def pump(self, stream):
        while (room := self.room(stream)) > 0:
            if stream.total is not None:
                at = stream.sent % len(PATTERN)
                piece = PATTERN[at : at + min(room, stream.total - stream.sent)]
            else:
                piece = bytes(stream.out[:room])
                del stream.out[:room]
            if not piece:
                break
            self.h2.send_data(stream.number, piece)
            stream.sent += len(piece)
            if stream.route == "echo":
                self.acknowledge(len(piece), stream.number)
        if self.is_done(stream):
            self.streams.pop(stream.number)
            if stream.route == "echo" and stream.trailers:
                self.h2.send_headers(stream.number, stream.trailers, end_stream=True)
            else:
                self.h2.end_stream(stream.number)

    def room(self, stream):
        try:
            return self.connection.room(stream.number)
        except h2.exceptions.ProtocolError:
            return 0

    def is_done(self, stream):
        if stream.route in ("hold", "stall"):
            return False
        if stream.total is not None:
            return stream.sent == stream.total
        if stream.route == "echo":
            return stream.in_done and not stream.out
        return stream.out_done and not stream.out


def together(server, stream):
    """Answers when as many as asked for are open, on whichever connections."""
    with waiting_lock:
        group = waiting.setdefault(stream.path, [])
        group.append((server, stream))
        if len(group) < int(stream.argument):
            return
        del waiting[stream.path]
    for each, of in group:
        with each.lock:
            each.answer(of, {"together": len(group)})
            each.pump(of)
            each.connection.flush()


def serve(plain):
    try:
        connection = plain
        if tls:
            connection = tls.wrap_socket(plain, server_side=True)
        Serve(connection).run()
        connection.close()
    except (OSError, h2.exceptions.ProtocolError) as error:
        say(event="closed", error=f"{type(error).__name__}: {error}")
        plain.close()


tls = None
if options.cert:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(options.cert, options.key)
    tls.load_verify_locations(options.ca)
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.set_alpn_protocols(options.alpn.split(","))

listener = socket.create_server(("127.0.0.1", 0))
say(port=listener.getsockname()[1])
while True:
    plain, _ = listener.accept()
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    threading.Thread(target=serve, args=[plain], daemon=True).start()
