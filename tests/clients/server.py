"""A TLS server that asks for a client certificate: says back what it hears, or answers HTTP with what
it was asked and by whom. Prints its port."""
import argparse
import json
import socket
import ssl
import threading
from http.server import BaseHTTPRequestHandler

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("mode", choices=["echo", "http"])
parser.add_argument("--host", default="127.0.0.1")
for name in ("cert", "key", "ca"):
    parser.add_argument(f"--{name}", required=True)
options = parser.parse_args()

tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
tls.load_cert_chain(options.cert, options.key)
tls.load_verify_locations(options.ca)
tls.verify_mode = ssl.CERT_REQUIRED
names = {}
tls.sni_callback = lambda connection, name, _: names.__setitem__(connection, name)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        length = int(self.headers.get("content-length", 0))
        peer = [list(name) for name in self.connection.getpeercert()["subjectAltName"]]
        asked = {"method": self.command, "target": self.path, "headers": self.headers.items()}
        body = json.dumps({**asked, "body": self.rfile.read(length).decode(), "peer": peer, "sni": names.get(self.connection)}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = answer

    def log_message(self, *_):
        pass


def serve(plain, peer):
    try:
        connection = tls.wrap_socket(plain, server_side=True)
        if options.mode == "http":
            Handler(connection, peer, None)
        else:
            while data := connection.recv(1 << 16):
                connection.sendall(data)
        connection.close()
    except OSError:
        plain.close()


family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
listener = socket.create_server((options.host, 0), family=family)
print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
while True:
    plain, peer = listener.accept()
    threading.Thread(target=serve, args=[plain, peer], daemon=True).start()
