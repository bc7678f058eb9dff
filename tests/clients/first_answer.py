"""The time from the first byte of a request to its answer, each on a new connection, which sends the request in two
writes: with TCP_NODELAY, as most libraries set it, and with Nagle's algorithm, as a socket has it. Prints both as lists of
milliseconds."""
import json
import socket
import time

from connect import arguments, context

options = arguments(__doc__, count=20)
tls = context(options)


def measure(nodelay):
    plain = socket.create_connection(options.address, timeout=20)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, nodelay)
    with tls.wrap_socket(plain, server_hostname=options.server) if tls else plain as connection:
        begun = time.monotonic()
        connection.sendall(b"GET /status/200 HTTP/1.1\r\n")
        connection.sendall(b"host: a\r\n\r\n")
        answer = connection.recv(1 << 16)
        assert answer.startswith(b"HTTP/1.1 200 "), answer
        return (time.monotonic() - begun) * 1000


millis = {"nodelay": [], "nagle": []}
for _ in range(options.count):
    millis["nodelay"].append(measure(1))
    millis["nagle"].append(measure(0))
print(json.dumps(millis))
