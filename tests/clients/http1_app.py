"""A plain HTTP app of the kind that people write in an afternoon. Prints its port.

1.0: answers as `python3 -m http.server` does, in HTTP/1.0, and closes each connection; /echo with its target. refuses: answers a request with 413
without reading its body, and closes."""
import json
import socketserver
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Old(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        if self.path.startswith("/length"):
            self.send_header("content-length", "5")
        self.end_headers()
        self.wfile.write(self.path.encode("latin-1") if self.path.startswith("/echo") else b"hello")

    def log_message(self, *_):
        pass


class Refuses(socketserver.StreamRequestHandler):
    def handle(self):
        while self.rfile.readline().strip():
            pass
        self.wfile.write(b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 9\r\nconnection: close\r\n\r\ntoo large")


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


kind = {"1.0": (ThreadingHTTPServer, Old), "refuses": (Server, Refuses)}[sys.argv[1]]
server = kind[0](("127.0.0.1", 0), kind[1])
print(json.dumps({"port": server.server_address[1]}), flush=True)
server.serve_forever()
