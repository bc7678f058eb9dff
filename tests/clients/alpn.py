"""A TLS connection with a list of ALPN protocols, by Python's ssl: as a client one line there and back, as a server (that
asks for a client certificate) whatever comes said back. Prints what was selected; the server its port first."""
import json
import socket
import ssl
import threading

from connect import arguments, connect, context, receive

options = arguments(__doc__, alpn="", mode="client")
protocols = [name for name in options.alpn.split(",") if name]


def client():
    tls = context(options)
    if protocols:
        tls.set_alpn_protocols(protocols)
    result = {"ok": False, "error": None, "selected": None}
    try:
        with connect(options, tls) as connection:
            result["selected"] = connection.selected_alpn_protocol()
            connection.sendall(b"there and back\n")
            result["ok"] = receive(connection, 15) == b"there and back\n"
    except (OSError, EOFError) as error:
        result["error"] = f"{type(error).__name__}: {error}"
    print(json.dumps(result), flush=True)


def serve(plain, tls):
    try:
        connection = tls.wrap_socket(plain, server_side=True)
        print(json.dumps({"selected": connection.selected_alpn_protocol()}), flush=True)
        while data := connection.recv(1 << 16):
            connection.sendall(data)
        connection.close()
    except OSError as error:
        print(json.dumps({"error": str(error)}), flush=True)
        plain.close()


def server():
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(options.cert, options.key)
    tls.load_verify_locations(options.ca)
    tls.verify_mode = ssl.CERT_REQUIRED
    if protocols:
        tls.set_alpn_protocols(protocols)
    listener = socket.create_server(options.address)
    print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
    while True:
        plain, _ = listener.accept()
        threading.Thread(target=serve, args=[plain, tls], daemon=True).start()


{"client": client, "server": server}[options.mode]()
