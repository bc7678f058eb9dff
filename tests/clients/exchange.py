"""One connection, one line there and back. In TLS 1.3 only the answer shows that the server accepted."""
import json

from connect import arguments, connect, context, receive

options = arguments(__doc__)
result = {"ok": False, "error": None, "version": None, "serial": None}
try:
    with connect(options, context(options)) as connection:
        result["version"] = connection.version()
        result["serial"] = connection.getpeercert()["serialNumber"]
        connection.sendall(b"there and back\n")
        result["ok"] = receive(connection, 15) == b"there and back\n"
except (OSError, EOFError) as error:
    result["error"] = f"{type(error).__name__}: {error}"
print(json.dumps(result))
