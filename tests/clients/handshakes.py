"""One handshake after the other until input ends. Prints a line whenever a handshake shows another leaf:
its serial number, and when that handshake was done by the monotonic clock, in nanoseconds."""
import json
import sys
import threading
import time

from connect import arguments, connect, context

options = arguments(__doc__)
tls = context(options)
done = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), done.set()), daemon=True).start()
last = None
while not done.is_set():
    with connect(options, tls) as connection:
        now = time.monotonic_ns()
        serial = connection.getpeercert()["serialNumber"]
    if serial != last:
        last = serial
        print(json.dumps({"serial": serial, "at": now}), flush=True)
