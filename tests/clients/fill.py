"""Takes places and keeps them: so many connections that say what `--kind` names and nothing more, each opened again
when it is closed, until input ends. Then prints how many were opened and how many were told to go away.

`silent` says nothing · `silent-h2` nothing where HTTP/2 was negotiated · `no-request` begins HTTP/2 and asks for
nothing · `half-head` and `half-headers` do not finish a request's head · `request` asks for `--path`"""
import json
import struct
import sys
import threading

from connect import arguments, connect, context

options = arguments(__doc__, kind="silent", connections=50, path="/", stay=1)
BEGIN = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\4" + bytes(5)
FIELDS = b"\x82\x87\x04\x01/"
HALF_HEADERS = struct.pack(">I", len(FIELDS))[1:] + b"\1\1" + struct.pack(">I", 1) + FIELDS
SAYS = {
    "silent": b"", "silent-h2": b"", "no-request": BEGIN, "half-headers": BEGIN + HALF_HEADERS,
    "half-head": f"GET / HTTP/1.1\r\nhost: {options.server}\r\n".encode(),
    "request": f"GET {options.path} HTTP/1.1\r\nhost: {options.server}\r\n\r\n".encode(),
}
tls = context(options)
tls.set_alpn_protocols(["h2" if options.kind in ("silent-h2", "no-request", "half-headers") else "http/1.1"])
done = threading.Event()
lock = threading.Lock()
counts = {"opened": 0, "goaway": 0, "refused": 0}


def goes_away(frames):
    while len(frames) >= 9:
        if frames[3] == 7:
            return True
        frames = frames[9 + int.from_bytes(frames[:3], "big"):]
    return False


def hold():
    while not done.is_set():
        heard = b""
        try:
            with connect(options, tls, timeout=1) as connection:
                with lock:
                    counts["opened"] += 1
                connection.sendall(SAYS[options.kind])
                while not done.is_set():
                    try:
                        part = connection.recv(1 << 16)
                    except TimeoutError:
                        continue
                    if not part:
                        break
                    heard = (heard + part)[-(1 << 16):]
        except OSError:
            pass
        with lock:
            counts["goaway"] += goes_away(heard)
            counts["refused"] += heard.startswith((b"HTTP/1.1 403", b"HTTP/1.1 503"))
        if not options.stay:
            break
        done.wait(0.2)


threads = [threading.Thread(target=hold) for _ in range(options.connections)]
for thread in threads:
    thread.start()
sys.stdin.read()
done.set()
for thread in threads:
    thread.join()
print(json.dumps(counts), flush=True)
