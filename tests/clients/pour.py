"""Sends bytes on many connections, each until the other side takes no more, and reads none, until input ends.

Prints a line when none takes any more."""
import json
import select
import socket
import ssl
import sys

from connect import arguments, connect, context

options = arguments(__doc__, connections=8)
tls = context(options)
# Longer than a busy machine takes to pass on what fits into its sockets.
QUIET = 2
BLOCK = bytes(1 << 16)


def begin():
    connection = connect(options, tls)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.setblocking(False)
    return connection


connections = [begin() for _ in range(options.connections)]
while writable := select.select([], connections, [], QUIET)[1]:
    for connection in writable:
        try:
            connection.send(BLOCK)
        except (ssl.SSLWantWriteError, BlockingIOError):
            pass
print(json.dumps({"open": len(connections)}), flush=True)
sys.stdin.read()
