"""What the Python clients share: their arguments, and a TLS context with a client certificate."""
import argparse
import socket
import ssl

SERVER = "payments.shop.svc"


def arguments(description, **extra):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("address", type=lambda text: (text.rsplit(":", 1)[0], int(text.rsplit(":", 1)[1])))
    for name in ("cert", "key", "ca"):
        parser.add_argument(f"--{name}", help="without them the connection is a plain one")
    parser.add_argument("--server", default=SERVER, help="the name that the server must show")
    parser.add_argument("--tls", choices=["1.2", "1.3"])
    for name, default in extra.items():
        parser.add_argument(f"--{name}", default=default, type=type(default))
    return parser.parse_args()


def context(options):
    if not options.ca:
        return None
    made = ssl.create_default_context(cafile=options.ca)
    made.load_cert_chain(options.cert, options.key)
    if options.tls:
        version = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[options.tls]
        made.minimum_version = made.maximum_version = version
    return made


def connect(options, tls, session=None, timeout=20):
    plain = socket.create_connection(options.address, timeout=timeout)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if tls is None:
        return plain
    try:
        return tls.wrap_socket(plain, server_hostname=options.server, session=session)
    except BaseException:
        plain.close()
        raise


def receive(connection, length):
    parts = []
    while length:
        part = connection.recv(min(length, 1 << 16))
        if not part:
            raise EOFError("closed by the other side")
        parts.append(part)
        length -= len(part)
    return b"".join(parts)
