"""Takes notifications over HTTPS and judges their signatures with Python's own HMAC. Prints its port, and
then a line for each: whether it is signed, its headers and what it says. What it answers is read from a
file each time: a status, and the seconds of Retry-After if there are to be some."""
import argparse
import base64
import hashlib
import hmac
import json
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

parser = argparse.ArgumentParser(description=__doc__)
for name in ("cert", "key", "secret", "answer"):
    parser.add_argument(f"--{name}", required=True)
options = parser.parse_args()
secret = base64.b64decode(options.secret.removeprefix("whsec_"))
printing = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        signed = f"{self.headers['webhook-id']}.{self.headers['webhook-timestamp']}.".encode() + body
        expected = "v1," + base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()
        given = self.headers["webhook-signature"].split(" ")
        fresh = abs(time.time() - int(self.headers["webhook-timestamp"])) < 300
        status, *after = open(options.answer).read().split()
        line = {
            "signed": fresh and any(hmac.compare_digest(expected, one) for one in given),
            "headers": {name.lower(): value for name, value in self.headers.items()},
            "body": base64.b64encode(body).decode(),
            "event": json.loads(body),
            "status": int(status),
        }
        with printing:
            print(json.dumps(line), flush=True)
        self.send_response(int(status))
        for seconds in after:
            self.send_header("retry-after", seconds)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
tls.load_cert_chain(options.cert, options.key)
server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
print(server.server_address[1], flush=True)
server.serve_forever()
