"""A plain HTTP/1.1 app that answers one request on each connection, says that the connection stays open, and closes it
when the next request comes: before it reads it, or after. Prints its port, and a line for each request that it read:
its number on the connection, its method and its path. A request for /never is not answered."""
import json
import socket
import threading

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


def read_head(connection):
    head = b""
    while b"\r\n\r\n" not in head:
        part = connection.recv(1)
        if not part:
            return None
        head += part
    method, path, _ = head.decode().split(" ", 2)
    return method, path


def say(number, head):
    print(json.dumps({"number": number, "method": head[0], "path": head[1]}), flush=True)


def serve(connection, number):
    try:
        head = read_head(connection)
        if head is None:
            return
        say(1, head)
        if head[1] == "/never":
            return
        if head[0] == "POST":
            # In the middle of the body.
            connection.recv(10)
            return
        connection.sendall(ANSWER)
        # The next request is here.
        connection.recv(1, socket.MSG_PEEK)
        if number % 2:
            say(2, read_head(connection))
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
