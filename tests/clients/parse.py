"""Answers each request with what h11 made of it, as JSON in a field. Prints its port."""
import hashlib
import json
import socket
import sys
import threading

import h11


def seen(request, body):
    text = [(name.decode("latin1"), value.decode("latin1")) for name, value in request.headers]
    fields = sorted([n, v] for n, v in text if n.startswith("x-") and not n.startswith("x-forwarded"))
    return {
        "method": request.method.decode("latin1"),
        "target": request.target.decode("latin1"),
        "host": " and ".join(value for name, value in text if name == "host"),
        "body": f"{len(body)}:{hashlib.sha256(body).hexdigest()[:16]}",
        "fields": fields,
    }


def serve(stream):
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    request, body = None, b""
    with stream:
        while True:
            try:
                event = connection.next_event()
            except h11.RemoteProtocolError as error:
                stream.sendall(f"HTTP/1.1 {error.error_status_hint} Error\r\nconnection: close\r\n\r\n".encode())
                return
            if event is h11.NEED_DATA:
                connection.receive_data(stream.recv(1 << 16))
            elif isinstance(event, h11.Request):
                request, body = event, b""
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                headers = [("x-sink", json.dumps(seen(request, body))), ("content-length", "0")]
                stream.sendall(connection.send(h11.Response(status_code=200, headers=headers)))
                stream.sendall(connection.send(h11.EndOfMessage()))
                if connection.our_state is h11.MUST_CLOSE:
                    return
                connection.start_next_cycle()
            else:
                return


def safely(stream):
    try:
        serve(stream)
    except (OSError, h11.ProtocolError):
        pass


listener = socket.create_server(("127.0.0.1", 0), backlog=100)
print(json.dumps({"port": listener.getsockname()[1]}), flush=True)


def accept():
    while True:
        threading.Thread(target=safely, args=(listener.accept()[0],), daemon=True).start()


threading.Thread(target=accept, daemon=True).start()
sys.stdin.read()
