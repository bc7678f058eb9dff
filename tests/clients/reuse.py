"""Connects, keeps the session, and offers it again on every line of input. Prints one object for each."""
import json
import sys

from connect import arguments, connect, context, receive

options = arguments(__doc__)
tls = context(options)
session = None


def attempt():
    global session
    result = {"ok": False, "reused": None, "offered": session is not None, "error": None}
    try:
        with connect(options, tls, session) as connection:
            result["reused"] = connection.session_reused
            connection.sendall(b"again\n")
            result["ok"] = receive(connection, 6) == b"again\n"
            session = connection.session or session
            result["tickets"] = bool(session and session.has_ticket)
    except (OSError, EOFError) as error:
        result["error"] = f"{type(error).__name__}: {error}"
    print(json.dumps(result))


attempt()
for _ in sys.stdin:
    attempt()
