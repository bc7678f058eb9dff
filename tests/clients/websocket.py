"""WebSocket by `websockets`, as a server or as a client. `websocket.js` does the same with `ws`.

The server says every message back, except: `headers` answers the handshake's headers, `ping` answers `ponged` after
a ping of its own, `close CODE REASON` closes. It prints its port, and a line for each connection that has ended.
The client of `trial` goes through all of that and prints what came of it; the one of `hold` sends the lines of its
input as messages, and prints what comes back and how it ended."""
import argparse
import json
import os
import ssl
import sys
import threading

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.sync.server import serve

BOTH = {"max_size": 8 << 20}

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("mode", choices=["server", "trial", "hold"])
parser.add_argument("url", nargs="?")
for name in ("cert", "key", "ca", "proxy"):
    parser.add_argument(f"--{name}")
options = parser.parse_args()


def say(**line):
    print(json.dumps(line), flush=True)


def answer(connection):
    try:
        for message in connection:
            match message.split(" ") if isinstance(message, str) else [message]:
                case ["headers"]:
                    headers = [[name.lower(), value] for name, value in connection.request.headers.raw_items()]
                    connection.send(json.dumps({"path": connection.request.path, "headers": headers}))
                case ["ping"]:
                    connection.send("ponged" if connection.ping(b"of the server").wait(10) else "no pong")
                case ["close", code, *reason]:
                    connection.close(int(code), " ".join(reason))
                case _:
                    connection.send(message)
    except ConnectionClosed:
        pass
    say(closed=connection.close_code, reason=connection.close_reason)


def server():
    tls = None
    if options.cert:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(options.cert, options.key)
        tls.load_verify_locations(options.ca)
        tls.verify_mode = ssl.CERT_REQUIRED
    with serve(answer, "127.0.0.1", 0, ssl=tls, subprotocols=["echo.v2"], **BOTH) as served:
        say(port=served.socket.getsockname()[1])
        served.serve_forever()


def opened():
    tls = None
    if options.cert:
        tls = ssl.create_default_context(cafile=options.ca)
        tls.load_cert_chain(options.cert, options.key)
    proxy = f"http://{options.proxy}" if options.proxy else None
    more = {"subprotocols": ["other.v1", "echo.v2"], "additional_headers": {"x-forwarded-client-cert": "evil"}}
    return connect(options.url, ssl=tls, proxy=proxy, **more, **BOTH)


def trial():
    result = {"echoed": []}
    with opened() as connection:
        result["subprotocol"] = connection.subprotocol
        result["extensions"] = connection.response.headers.get("Sec-WebSocket-Extensions")
        connection.send("headers")
        result["asked"] = json.loads(connection.recv(20))
        for message in ["grüße", bytes(range(256)), os.urandom(1 << 19).hex(), os.urandom(1 << 20)]:
            connection.send(message)
            result["echoed"].append(connection.recv(20) == message)
        result["pong"] = connection.ping(b"of the client").wait(20)
        connection.send("ping")
        result["ponged"] = connection.recv(20)
        connection.close(4001, "the client is done")
    with opened() as connection:
        connection.send("close 4002 the server is done")
        try:
            connection.recv(20)
        except ConnectionClosed as closed:
            result["closed"] = [closed.rcvd.code, closed.rcvd.reason] if closed.rcvd else None
    say(**result)


def hold():
    connection = opened()
    say(open=True)

    def listen():
        try:
            for message in connection:
                say(echoed=message)
        except ConnectionClosed:
            pass
        say(closed=connection.close_code)

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        for line in sys.stdin:
            connection.send(line.rstrip("\n"))
        connection.close(4001, "the client is done")
    except ConnectionClosed:
        pass
    listener.join()


try:
    {"server": server, "trial": trial, "hold": hold}[options.mode]()
except InvalidStatus as refused:
    say(refused=refused.response.status_code, body=refused.response.body.decode())
