"""gRPC server of grpcio: README.md says what it serves and what it is told."""
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

SERVICE = "hotcert.test.Calls"
PATIENCE = 10
FAILURE = "abgelaufen: 証明書 100 % ✓"
DETAILS = bytes(range(256))


class Cancelled:
    """The calls that ended before they were answered."""

    def __init__(self):
        self.lock = threading.Lock()
        self.events = {}

    def event(self, identifier):
        with self.lock:
            return self.events.setdefault(identifier, threading.Event())


cancelled = Cancelled()


def unary(request, _context):
    return request


def collect(requests, _context):
    return b"".join(requests)


def repeat(request, _context):
    for number in range(10):
        yield bytes([number]) + request


def converse(requests, _context):
    yield from requests


def hold(requests, context):
    event = cancelled.event(dict(context.invocation_metadata())["call-id"].encode())
    context.add_callback(event.set)
    yield from requests
    # That the requests end is not a cancellation yet.
    event.wait(PATIENCE)


def metadata(request, context):
    sent = [(name, value) for name, value in context.invocation_metadata() if name.startswith("sent-")]
    context.send_initial_metadata([(name.replace("sent-", "initial-"), value) for name, value in sent])
    context.set_trailing_metadata([(name.replace("sent-", "trailing-"), value) for name, value in sent])
    return request


def fail(request, context):
    for number in range(int(request)):
        yield bytes([number])
    context.set_trailing_metadata([("grpc-status-details-bin", DETAILS)])
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, FAILURE)


def wait(request, context):
    event = cancelled.event(request)
    context.add_callback(event.set)
    yield b"waiting"
    event.wait(PATIENCE)


def seen(request, context):
    if not cancelled.event(request).wait(PATIENCE):
        context.abort(grpc.StatusCode.NOT_FOUND, "no such call was cancelled")
    return b"seen"


def credentials(directory):
    def read():
        key, chain, roots = ((directory / name).read_bytes() for name in ("tls.key", "tls.crt", "ca.crt"))
        return grpc.ssl_server_certificate_configuration([(key, chain)], roots)

    current = read()
    changed = False

    def reload():
        nonlocal current, changed
        current, changed = read(), True

    # Asked at each handshake.
    return grpc.dynamic_ssl_server_credentials(current, lambda: current if changed else None, True), reload


server = grpc.server(ThreadPoolExecutor(64))
server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, {
    "Unary": grpc.unary_unary_rpc_method_handler(unary),
    "Collect": grpc.stream_unary_rpc_method_handler(collect),
    "Repeat": grpc.unary_stream_rpc_method_handler(repeat),
    "Converse": grpc.stream_stream_rpc_method_handler(converse),
    "Hold": grpc.stream_stream_rpc_method_handler(hold),
    "Metadata": grpc.unary_unary_rpc_method_handler(metadata),
    "Fail": grpc.unary_stream_rpc_method_handler(fail),
    "Wait": grpc.unary_stream_rpc_method_handler(wait),
    "Seen": grpc.unary_unary_rpc_method_handler(seen),
})])
# Watches that do not block deadlock in this version: one sends under the lock for which another's end is waiting.
checked = health.HealthServicer(experimental_non_blocking=False)
checked.set("", health_pb2.HealthCheckResponse.SERVING)
health_pb2_grpc.add_HealthServicer_to_server(checked, server)
reflection.enable_server_reflection([SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME], server)

reload = None
if len(sys.argv) > 1:
    tls, reload = credentials(Path(sys.argv[1]))
    port = server.add_secure_port("127.0.0.1:0", tls)
else:
    port = server.add_insecure_port("127.0.0.1:0")
server.start()
print(f"listening on 127.0.0.1:{port}", flush=True)
for line in sys.stdin:
    if line == "reload\n":
        reload()
        print("reloaded", flush=True)
server.stop(None)
