"""Sends bytes on many connections, as many as the other side takes, and reads none, until input ends.

Prints a line when all are open."""
import json
import select
import socket
import ssl
import sys

from connect import arguments, connect, context

options = arguments(__doc__, connections=8)
tls = context(options)
BLOCK = bytes(1 << 16)


def begin():
    connection = connect(options, tls)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.setblocking(False)
    return connection


connections = [begin() for _ in range(options.connections)]
print(json.dumps({"open": len(connections)}), flush=True)
while sys.stdin not in select.select([sys.stdin], [], [], 0)[0]:
    for connection in select.select([], connections, [], 0.1)[1]:
        try:
            connection.send(BLOCK)
        except (ssl.SSLWantWriteError, BlockingIOError):
            pass
