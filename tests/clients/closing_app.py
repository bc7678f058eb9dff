"""A plain HTTP/1.1 app that answers one request on each connection, says that the connection stays open, and closes it
when the next request comes: before it reads it, or after. Prints its port, and a line for each request that it read:
its number on the connection, and its method."""
import json
import socket
import sys
import threading

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


def read_head(connection):
    head = b""
    while b"\r\n\r\n" not in head:
        part = connection.recv(1)
        if not part:
            return None
        head += part
    return head.split(b" ")[0].decode()


def serve(connection, number):
    try:
        method = read_head(connection)
        if method is None:
            return
        print(json.dumps({"number": 1, "method": method}), flush=True)
        if method == "POST":
            # In the middle of the body.
            connection.recv(10)
            return
        connection.sendall(ANSWER)
        # The next request is here.
        connection.recv(1, socket.MSG_PEEK)
        if number % 2:
            method = read_head(connection)
            print(json.dumps({"number": 2, "method": method}), flush=True)
    except OSError:
        pass
    finally:
        connection.close()


listener = socket.create_server(("127.0.0.1", 0))
print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
number = 0
while True:
    connection, _ = listener.accept()
    number += 1
    threading.Thread(target=serve, args=[connection, number], daemon=True).start()
