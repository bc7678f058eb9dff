"""Many requests on many connections of HTTP/2, whose responses are let come and not read, until input ends.

Prints a line when all are sent."""
import json
import socket
import struct
import sys

from connect import arguments, connect, context

options = arguments(__doc__, connections=8, streams=100, path="/chunked/600000")
tls = context(options)
tls.set_alpn_protocols(["h2"])
MOST = (1 << 31) - 1


def raw(kind, flags, stream, payload):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def fields(*headers):
    return b"".join(b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value for name, value in headers)


GET = fields(
    (b":method", b"GET"), (b":scheme", b"https"), (b":authority", options.server.encode()),
    (b":path", options.path.encode()),
)
BEGIN = (
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    + raw(4, 0, 0, struct.pack(">HI", 4, MOST))
    + raw(8, 0, 0, struct.pack(">I", MOST - 65_535))
)


def ask():
    connection = connect(options, tls)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    requests = b"".join(raw(1, 5, 2 * at + 1, GET) for at in range(options.streams))
    connection.sendall(BEGIN + requests)
    return connection


connections = [ask() for _ in range(options.connections)]
print(json.dumps({"open": len(connections)}), flush=True)
sys.stdin.read()
