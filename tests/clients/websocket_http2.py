"""WebSocket over HTTP/2 by extended CONNECT (RFC 8441), with Python's `h2` and the frames of `websockets`.

`trial` and `hold` do what those of `websocket.py` do; `bytes` asks for a protocol that does not exist and counts what
comes back of its megabytes. All print what the other side refused, if it did."""
import json
import os
import sys
import threading

import h2.events
from h2.settings import SettingCodes
from websockets.frames import Opcode
from websockets.protocol import CLIENT, Protocol, State

from connect import arguments, connect, context
from http2 import Connection, GoAway, pattern

options = arguments(__doc__, mode="trial", path="/chat?a=b", protocol="websocket")


def say(**line):
    print(json.dumps(line), flush=True)


class Closed(Exception):
    pass


class WebSocket:
    def __init__(self, protocol=None):
        tls = context(options)
        if tls:
            tls.set_alpn_protocols(["h2"])
        self.connection = Connection(connect(options, tls), True)
        self.h2 = self.connection.h2
        self.lock = threading.RLock()
        self.stream, self.status, self.refusal, self.ended = None, None, bytearray(), False
        self.socket = Protocol(CLIENT, state=State.OPEN, max_size=8 << 20)
        self.raw = protocol is not None
        self.heard, self.waiting = [], bytearray()
        while not self.h2.remote_settings.enable_connect_protocol:
            # The other side's SETTINGS are the first that it may send.
            if any(isinstance(event, h2.events.RemoteSettingsChanged) for event in self.receive()):
                break
        self.offered = bool(self.h2.remote_settings.enable_connect_protocol)
        self.stream = self.h2.get_next_available_stream_id()
        self.h2.send_headers(
            self.stream,
            [
                (":method", "CONNECT"),
                (":protocol", protocol or options.protocol),
                (":scheme", "https" if tls else "http"),
                (":path", options.path),
                (":authority", options.server),
                ("sec-websocket-version", "13"),
                ("sec-websocket-protocol", "other.v1, echo.v2"),
                ("x-forwarded-client-cert", "evil"),
            ],
        )
        while self.status is None:
            self.step()
        if self.status != "200":
            while not self.ended:
                self.step()

    def receive(self):
        events = self.connection.receive()
        if events is None:
            raise Closed("the connection was closed")
        return events

    def step(self):
        self.flush()
        data = self.connection.sock.recv(1 << 16)
        if not data:
            raise Closed("the connection was closed")
        with self.lock:
            for event in self.connection.take(data):
                self.on(event)
            self.flush()

    def on(self, event):
        match event:
            case h2.events.ResponseReceived():
                self.headers = dict(event.headers)
                self.status = self.headers[":status"]
            case h2.events.DataReceived():
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                if self.status != "200":
                    self.refusal += event.data
                elif self.raw:
                    self.heard.append(event.data)
                else:
                    self.socket.receive_data(event.data)
                    self.heard += self.socket.events_received()
            case h2.events.StreamReset() if not self.ended:
                self.ended = True
                raise Closed(f"the stream was reset: {int(event.error_code)}")
            case h2.events.StreamEnded():
                self.ended = True
            case GoAway() if event.last_stream_id < (self.stream or 0):
                raise Closed(f"GOAWAY: {event.error_code}")

    def flush(self):
        with self.lock:
            if self.stream is not None and not self.raw:
                self.waiting += b"".join(self.socket.data_to_send())
            while self.waiting and self.status == "200" and (room := self.connection.room(self.stream)) > 0:
                self.h2.send_data(self.stream, bytes(self.waiting[:room]))
                del self.waiting[:room]
            self.connection.flush()

    def next(self):
        while not self.heard:
            if self.ended:
                raise Closed("the stream ended")
            self.step()
        return self.heard.pop(0)

    def until(self, opcode):
        while (frame := self.next()).opcode is not opcode:
            pass
        return frame.data


def refused(web):
    if web.status != "200":
        say(offered=web.offered, refused=int(web.status), body=web.refusal.decode(), headers=web.headers)
        sys.exit()


def trial():
    web = WebSocket()
    refused(web)
    socket, result = web.socket, {"echoed": [], "offered": web.offered}
    result["subprotocol"] = web.headers.get("sec-websocket-protocol")
    result["accept"] = web.headers.get("sec-websocket-accept")
    socket.send_text(b"headers")
    result["asked"] = json.loads(web.until(Opcode.TEXT))
    for message in ["grüße".encode(), os.urandom(1 << 19).hex().encode()]:
        socket.send_text(message)
        result["echoed"].append(web.until(Opcode.TEXT) == message)
    for message in [bytes(range(256)), os.urandom(1 << 20)]:
        socket.send_binary(message)
        result["echoed"].append(web.until(Opcode.BINARY) == message)
    socket.send_ping(b"of the client")
    result["pong"] = web.until(Opcode.PONG) == b"of the client"
    socket.send_text(b"ping")
    result["ponged"] = web.until(Opcode.TEXT).decode()
    socket.send_close(4001, "the client is done")
    web.until(Opcode.CLOSE)
    while not web.ended:
        web.step()
    web = WebSocket()
    web.socket.send_text(b"close 4002 the server is done")
    web.until(Opcode.CLOSE)
    closed = web.socket.close_rcvd
    result["closed"] = [closed.code, closed.reason]
    web.flush()
    # The server ends the stream when it has heard the answer.
    while not web.ended:
        web.step()
    say(**result)


def hold():
    web = WebSocket()
    refused(web)
    say(open=True)

    def listen():
        while True:
            frame = web.next()
            if frame.opcode is Opcode.TEXT:
                say(echoed=frame.data.decode())

    def speak():
        for line in sys.stdin:
            with web.lock:
                web.socket.send_text(line.rstrip("\n").encode())
                web.flush()

    threading.Thread(target=speak, daemon=True).start()
    listen()


def megabytes():
    """Sends and takes at once, then ends its side and hears the rest."""
    web = WebSocket(options.protocol)
    refused(web)
    sent = pattern()[: 8 << 20]
    web.waiting += sent
    heard = bytearray()
    while len(heard) < len(sent):
        heard += web.next()
    web.h2.end_stream(web.stream)
    while not web.ended:
        web.step()
    say(same=bytes(heard) == sent)


try:
    {"trial": trial, "hold": hold, "bytes": megabytes}[options.mode]()
except (Closed, OSError) as error:
    say(closed=str(error))
