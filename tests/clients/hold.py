"""Keeps several connections busy with data that is checked on its way back, until input ends.

Prints a line when all are open, and one with what became of them at the end."""
import hashlib
import json
import os
import sys
import threading

from connect import arguments, connect, context, receive

options = arguments(__doc__, connections=6)
tls = context(options)
opened = threading.Barrier(options.connections + 1)
done = threading.Event()
results = []


def hold():
    sent, received, rounds, error = hashlib.sha256(), hashlib.sha256(), 0, None
    connection = connect(options, tls)
    try:
        while True:
            block = os.urandom(1 + int.from_bytes(os.urandom(2), "big"))
            connection.sendall(block)
            sent.update(block)
            received.update(receive(connection, len(block)))
            rounds += 1
            if rounds == 1:
                opened.wait(timeout=30)
            if done.wait(0.005):
                break
    except (OSError, EOFError, threading.BrokenBarrierError) as failure:
        error = f"{type(failure).__name__}: {failure}"
        opened.abort()
    results.append({"rounds": rounds, "intact": sent.digest() == received.digest(), "error": error})
    connection.close()


threads = [threading.Thread(target=hold) for _ in range(options.connections)]
for thread in threads:
    thread.start()
try:
    opened.wait(timeout=30)
    print(json.dumps({"open": options.connections}), flush=True)
    sys.stdin.read()
except threading.BrokenBarrierError:
    pass
done.set()
for thread in threads:
    thread.join()
print(json.dumps(results), flush=True)
