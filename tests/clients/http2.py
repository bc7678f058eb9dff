"""What the HTTP/2 programs share: a connection that Python's `h2` makes the frames of, over a plain or a TLS socket."""
import h2.config
import h2.connection
import h2.settings
from hyperframe.frame import GoAwayFrame as GoAway


class Connection:
    """Sends what `h2` has to say, and hands on what it makes of the bytes that come."""

    def __init__(self, sock, client, settings=(), **config):
        self.sock = sock
        self.h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=client, header_encoding="utf-8", **config)
        )
        # In the first SETTINGS frame, as a peer need not look at a second one.
        self.h2.local_settings = h2.settings.Settings(
            client=client, initial_values={**dict(self.h2.local_settings), **dict(settings)}
        )
        # h2 takes GOAWAY for the end of everything, though what is under way goes on.
        self.h2._frame_dispatch_table[GoAway] = lambda frame: ([], [frame])
        self.h2.initiate_connection()
        self.flush()

    def flush(self):
        if data := self.h2.data_to_send():
            self.sock.sendall(data)

    def receive(self):
        """The next events; `None` when the other side has closed."""
        self.flush()
        data = self.sock.recv(1 << 16)
        return self.take(data) if data else None

    def take(self, data):
        events = self.h2.receive_data(data)
        self.flush()
        return events

    def room(self, stream):
        """How much DATA may be sent on this stream now."""
        return min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size)


def pattern():
    """16 MiB of bytes that say where they belong; what is longer begins anew."""
    blocks = [bytes(low ^ high for low in range(256)) for high in range(256)]
    return b"".join(blocks[(high ^ high >> 8) & 255] for high in range(1 << 16))
