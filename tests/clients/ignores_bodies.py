"""A plain HTTP/1.1 app that never reads the body of a request, as many do for GET: what is left of one is its next
request on that connection. Prints its port, then the request line of each request with what it was told of the client."""
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        claims = self.headers.get_all("x-forwarded-client-cert") or []
        print(json.dumps({"request": self.requestline, "claims": claims}), flush=True)
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    do_GET = do_DELETE = do_OPTIONS = answer

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(json.dumps({"port": server.server_address[1]}), flush=True)
server.serve_forever()
