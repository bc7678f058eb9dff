"""HTTP load until input ends: some keep their connection, some open a new one for each request.

Prints a line after the first answers, and one with counts and every failure at the end."""
import http.client
import json
import sys
import threading
import time

from connect import arguments, connect, context

options = arguments(__doc__, keep=2, fresh=1, path="/bytes/2000", length=2000, has="")
tls = context(options)
done = threading.Event()
counts = {"kept": 0, "fresh": 0, "connections": 0}
failures = []
lock = threading.Lock()


class Connection(http.client.HTTPConnection):
    def connect(self):
        self.sock = connect(options, tls)
        with lock:
            counts["connections"] += 1


def ask(connection, kind):
    try:
        connection.request("GET", options.path)
        response = connection.getresponse()
        body = response.read()
        whole = options.has.encode() in body if options.has else len(body) == options.length
        if response.status != 200 or not whole:
            raise ValueError(f"status {response.status}, {len(body)} bytes: {body[:80]}")
        with lock:
            counts[kind] += 1
    except (OSError, ValueError, http.client.HTTPException) as error:
        with lock:
            failures.append(f"{kind}: {type(error).__name__}: {error}")
        connection.close()


def keep():
    connection = Connection(options.server)
    while not done.is_set():
        ask(connection, "kept")
        time.sleep(0.002)


def fresh():
    while not done.is_set():
        connection = Connection(options.server)
        ask(connection, "fresh")
        connection.close()
        time.sleep(0.005)


threads = [threading.Thread(target=keep) for _ in range(options.keep)]
threads += [threading.Thread(target=fresh) for _ in range(options.fresh)]
for thread in threads:
    thread.start()
while not failures and not (counts["kept"] and counts["fresh"]):
    time.sleep(0.01)
print(json.dumps({"running": True}), flush=True)
sys.stdin.read()
done.set()
for thread in threads:
    thread.join()
print(json.dumps({**counts, "failed": len(failures), "failures": failures[:5]}), flush=True)
