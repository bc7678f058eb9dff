"""One connection of HTTP/2 by Python's `h2`, with a client certificate or in the clear, and what it does by `--mode`:

`trailers` posts a body and trailers, one of them forged, and prints what comes · `get` asks `--count` times at once ·
`one` asks once with `--method` · `expect` posts a body once it was told to continue, or nothing came
`--count` times for half a second ·
`end` posts one piece and prints how the request ends, having cancelled it with `--code` if one is given · `stay`
keeps a request open and says when it was told to go away and when it was cut · `both` posts `--length`
bytes while it reads them back · `upload` posts all that it is let, until nothing moves any more · `download` reads all
that comes while it makes no room for more, until nothing moves any more. The last two then wait for their input to end."""
import hashlib
import json
import sys
import time

import h2.events

from connect import arguments, connect, context
from http2 import Connection, GoAway, pattern

options = arguments(__doc__, mode="get", method="GET", path="/", count=1, length=0, code=-1)
PATTERN = pattern()


def say(**line):
    print(json.dumps(line), flush=True)


class Request:
    def __init__(self):
        self.status, self.headers, self.body, self.trailers = None, {}, hashlib.sha256(), []
        self.text, self.length, self.end = b"", 0, None
        self.fields, self.interim, self.data_frames = [], [], 0

    def result(self):
        return {
            "status": self.status, "headers": self.headers, "trailers": self.trailers, "end": self.end,
            "length": self.length, "sha256": self.body.hexdigest(),
            "interim": self.interim, "fields": self.fields, "data_frames": self.data_frames,
            "text": self.text.decode(errors="replace") if self.length < 1 << 10 else None,
        }


class Client:
    """Requests over one connection, of which one may send `left` bytes of the pattern."""

    def __init__(self):
        tls = context(options)
        if tls:
            tls.set_alpn_protocols(["h2"])
        # Makes no header wrong and takes none for wrong.
        lax = {"validate_outbound_headers": False, "normalize_outbound_headers": False}
        self.scheme = "https" if tls else "http"
        self.connection = Connection(connect(options, tls), True, **lax)
        self.h2 = self.connection.h2
        self.requests, self.goaway, self.closed, self.reads, self.begun = {}, None, False, True, False
        while not self.begun:
            self.step()

    def ask(self, method, path, end=True, headers=()):
        number = self.h2.get_next_available_stream_id()
        pseudo = [(":method", method), (":scheme", self.scheme), (":authority", options.server), (":path", path)]
        self.h2.send_headers(number, [*pseudo, *headers], end_stream=end)
        self.requests[number] = Request()
        return number

    def step(self):
        """Takes what comes next, or returns `False` when nothing did for half a second."""
        self.connection.flush()
        self.connection.sock.settimeout(0.5)
        try:
            data = self.connection.sock.recv(1 << 16)
        except TimeoutError:
            return False
        except OSError:
            data = b""
        finally:
            self.connection.sock.settimeout(20)
        if not data:
            self.closed = True
            for request in self.requests.values():
                request.end = request.end or "closed"
            return True
        for event in self.connection.take(data):
            self.on(event)
        self.connection.flush()
        return True

    def on(self, event):
        request = self.requests.get(getattr(event, "stream_id", None))
        match event:
            case h2.events.ResponseReceived():
                request.status, request.headers = int(dict(event.headers)[":status"]), dict(event.headers)
                request.fields = [list(field) for field in event.headers]
            case h2.events.InformationalResponseReceived():
                request.interim.append([list(field) for field in event.headers])
            case h2.events.DataReceived():
                if self.reads:
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                request.length += len(event.data)
                request.data_frames += 1
                request.body.update(event.data)
                request.text += event.data[: (1 << 10) - len(request.text)]
            case h2.events.TrailersReceived():
                request.trailers = [list(header) for header in event.headers]
            case h2.events.StreamEnded():
                request.end = request.end or "ended"
            case h2.events.StreamReset():
                request.end = f"reset {int(event.error_code)}"
            case h2.events.RemoteSettingsChanged():
                self.begun = True
            case GoAway():
                self.goaway = event.error_code

    def send(self, number, left):
        """Sends what there is room for; how much is left."""
        while left > 0 and self.requests[number].end is None and (room := self.connection.room(number)) > 0:
            at = (options.length - left) % len(PATTERN)
            piece = PATTERN[at : at + min(room, left)]
            self.h2.send_data(number, piece)
            self.connection.flush()
            left -= len(piece)
        return left

    def finish(self, number):
        request = self.requests[number]
        while request.end is None:
            self.step()
        return request.result()


def trailers(client):
    number = client.ask("POST", options.path, end=False, headers=[("te", "trailers")])
    client.h2.send_data(number, b"with trailers")
    sent = [("x-sum", "of the client"), ("x-forwarded-client-cert", "evil"), ("x_forwarded_client_cert", "evil")]
    client.h2.send_headers(number, sent, end_stream=True)
    say(**client.finish(number))


def get(client):
    numbers = []
    for _ in range(options.count):
        numbers.append(client.ask("GET", options.path))
        # Not more at once than the other side allows.
        while client.h2.open_outbound_streams >= client.h2.remote_settings.max_concurrent_streams:
            client.step()
    results = [client.finish(number) for number in numbers]
    ok = sum(result["status"] == 200 and result["end"] == "ended" for result in results)
    say(ok=ok, failed=[result for result in results if result["status"] != 200][:3], goaway=client.goaway)


def one(client):
    say(**client.finish(client.ask(options.method, options.path)))


def expect(client):
    fields = [("expect", "100-continue"), ("content-length", "4")]
    number = client.ask("POST", options.path, end=False, headers=fields)
    request, quiet = client.requests[number], 0
    while quiet < options.count and not (request.interim or request.status or request.end):
        quiet = 0 if client.step() else quiet + 1
    told = bool(request.interim)
    if request.status is None and request.end is None:
        client.h2.send_data(number, b"body", end_stream=True)
    say(told=told, **client.finish(number))


def end(client):
    number = client.ask("POST", options.path, end=False)
    client.h2.send_data(number, b"a piece")
    while client.requests[number].status is None and client.requests[number].end is None:
        client.step()
    if options.code >= 0:
        client.h2.reset_stream(number, options.code)
        client.requests[number].end = "cancelled"
        client.connection.flush()
    result = client.finish(number)
    # The connection is not the worse for it.
    after = client.finish(client.ask("GET", "/after"))["status"] if not client.closed else None
    say(**result, after=after)


def stay(client):
    number, begin, told = client.ask("GET", options.path), time.monotonic(), None
    while client.requests[number].end is None:
        client.step()
        if client.goaway is not None and told is None:
            told = time.monotonic() - begin
            say(goaway=client.goaway, after=told)
    say(end=client.requests[number].end, after=time.monotonic() - begin)


def both(client):
    number = client.ask("POST", options.path, end=False)
    left = options.length
    while left:
        left = client.send(number, left)
        if client.requests[number].end:
            break
        client.step()
    if not client.requests[number].end:
        client.h2.end_stream(number)
    result = client.finish(number)
    expected = hashlib.sha256()
    for at in range(0, options.length, len(PATTERN)):
        expected.update(PATTERN[: options.length - at])
    say(same=result["sha256"] == expected.hexdigest(), **result)


def upload(client):
    number = client.ask("POST", options.path, end=False)
    left, quiet = options.length, 0
    while left and quiet < 3 and client.requests[number].end is None:
        left = client.send(number, left)
        quiet = 0 if client.step() else quiet + 1
    say(sent=options.length - left, end=client.requests[number].end)
    sys.stdin.read()


def download(client):
    client.reads = False
    numbers = [client.ask("GET", options.path) for _ in range(options.count)]
    received, quiet = 0, 0
    # The first byte may come late: the test has a deadline for the line that is printed.
    while received == 0 or quiet < 3:
        quiet = 0 if client.step() else quiet + 1
        received = sum(client.requests[number].length for number in numbers)
    say(received=received)
    sys.stdin.read()


modes = [trailers, get, one, expect, end, stay, both, upload, download]
{mode.__name__: mode for mode in modes}[options.mode](Client())
