"""Opens connections that say hello and then nothing more, and counts how many the server closes.

Prints a line when all are open, and one when input has ended."""
import json
import socket
import ssl
import sys

from connect import SERVER, arguments, context

options = arguments(__doc__, connections=500)
tls = context(options)


def half():
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        tls.wrap_bio(incoming, outgoing, server_hostname=SERVER).do_handshake()
    except ssl.SSLWantReadError:
        pass
    connection = socket.create_connection(options.address, timeout=20)
    connection.sendall(outgoing.read())
    return connection


connections = [half() for _ in range(options.connections)]
print(json.dumps({"open": len(connections)}), flush=True)
sys.stdin.read()
closed = 0
for connection in connections:
    try:
        while connection.recv(1 << 16):
            pass
        closed += 1
    except ConnectionError:
        closed += 1
    except TimeoutError:
        pass
print(json.dumps({"closed": closed}), flush=True)
