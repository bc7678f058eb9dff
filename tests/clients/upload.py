"""Sends a body of so many MiB, in one request a connection, and prints a line for each: the status and the body that came
back, or why none did."""
import http.client
import json

from connect import arguments, connect, context

options = arguments(__doc__, times=30, mebibytes=30)
tls = context(options)
body = bytes(options.mebibytes << 20)


class Connection(http.client.HTTPConnection):
    def connect(self):
        self.sock = connect(options, tls)


for _ in range(options.times):
    connection = Connection(options.server)
    try:
        connection.request("POST", "/upload", body)
        response = connection.getresponse()
        print(json.dumps({"status": response.status, "body": response.read().decode()}), flush=True)
    except (OSError, http.client.HTTPException) as error:
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}), flush=True)
    connection.close()
