"""Says a lot, then closes without close_notify, once a round. Prints how much it said each time."""
import json

from connect import arguments, connect, context

options = arguments(__doc__, rounds=20, length=200_000)
tls = context(options)
content = bytes((at ^ at >> 8 ^ at >> 16) & 255 for at in range(options.length))
for _ in range(options.rounds):
    connection = connect(options, tls)
    connection.sendall(content)
    # Python says close_notify only in `unwrap`.
    connection.close()
print(json.dumps({"said": options.length}), flush=True)
