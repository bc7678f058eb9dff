"""gRPC client of grpcio: README.md says what it calls and what it is told."""
import sys
import threading
import time
import uuid
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

SERVICE = "hotcert.test.Calls"
SERVER = "payments.shop.svc"
LOOPS = 2
# Of a call that is not there to exceed its deadline.
PATIENCE = 10
BETWEEN_CALLS = 0.002
LARGE = bytes(range(256)) * 4096
FAILURE = "abgelaufen: 証明書 100 % ✓"
DETAILS = bytes(range(256))
TEXT = "one, \"two\"; three=%20 four"


def path(method):
    return f"/{SERVICE}/{method}"


def same(found, expected):
    if found != expected:
        raise ValueError(f"{str(found)[:200]} where {str(expected)[:200]} was expected")


def code_of(call):
    """With which status the call fails, which it has to."""
    try:
        answer = call()
    except grpc.RpcError as error:
        return error.code()
    raise ValueError(f"no error but {answer}")


def ask_seen(channel, identifier):
    same(channel.unary_unary(path("Seen"))(identifier, timeout=PATIENCE), b"seen")


def unary(channel):
    text = uuid.uuid4().bytes
    same(channel.unary_unary(path("Unary"))(text, timeout=PATIENCE), text)


def client_stream(channel):
    parts = [bytes([number]) * number * 100 for number in range(10)]
    same(channel.stream_unary(path("Collect"))(iter(parts), timeout=PATIENCE), b"".join(parts))


def server_stream(channel):
    text = uuid.uuid4().bytes
    answers = list(channel.unary_stream(path("Repeat"))(text, timeout=PATIENCE))
    same(answers, [bytes([number]) + text for number in range(10)])


class Requests:
    """The messages of one direction, sent when they are put in."""

    def __init__(self):
        self.condition, self.waiting, self.closed = threading.Condition(), [], False

    def put(self, message):
        with self.condition:
            self.waiting.append(message)
            self.condition.notify()

    def close(self):
        with self.condition:
            self.closed = True
            self.condition.notify()

    def __iter__(self):
        return self

    def __next__(self):
        with self.condition:
            self.condition.wait_for(lambda: self.waiting or self.closed)
            if self.waiting:
                return self.waiting.pop(0)
            raise StopIteration


def bidirectional(channel):
    requests = Requests()
    answers = channel.stream_stream(path("Converse"))(requests, timeout=PATIENCE)
    # Each is sent when the one before it was answered.
    for number in range(5):
        message = b"turn %d" % number
        requests.put(message)
        same(next(answers), message)
    # More than the windows hold, so that both directions have to move at once.
    crowd = [bytes([number]) * 16384 for number in range(10)]
    for message in crowd:
        requests.put(message)
    requests.close()
    same(list(answers), crowd)


def large_messages(channel):
    same(channel.unary_unary(path("Unary"))(LARGE, timeout=PATIENCE), LARGE)


def metadata(channel):
    sent = [("sent-text", TEXT), ("sent-bin", DETAILS), ("sent-two-bin", b"first"), ("sent-two-bin", b"second")]
    call = channel.unary_unary(path("Metadata")).with_call
    answer, ended = call(b"with metadata", metadata=sent, timeout=PATIENCE)
    same(answer, b"with metadata")
    for of, found in (("initial-", ended.initial_metadata()), ("trailing-", ended.trailing_metadata())):
        expected = [(name.replace("sent-", of), value) for name, value in sent]
        same(sorted((name, value) for name, value in found if name.startswith(of)), sorted(expected))


def error_status(channel):
    for count in (0, 3):
        answers = channel.unary_stream(path("Fail"))(b"%d" % count, timeout=PATIENCE)
        for number in range(count):
            same(next(answers), bytes([number]))
        same(code_of(lambda: next(answers)), grpc.StatusCode.FAILED_PRECONDITION)
        same(answers.details(), FAILURE)
        same(dict(answers.trailing_metadata()).get("grpc-status-details-bin"), DETAILS)


def deadline(channel):
    # On a busy machine the first may be over before the server has heard of the call.
    for seconds in (0.04, 0.4, 4):
        identifier = uuid.uuid4().hex.encode()
        answers = channel.unary_stream(path("Wait"))(identifier, timeout=seconds)
        heard = []
        same(code_of(lambda: heard.extend(answers)), grpc.StatusCode.DEADLINE_EXCEEDED)
        if heard:
            same(heard, [b"waiting"])
            return ask_seen(channel, identifier)
    raise ValueError("the server did not hear of the call within its deadline")


def cancellation(channel):
    identifier = uuid.uuid4().hex
    requests = Requests()
    answers = channel.stream_stream(path("Hold"))(requests, metadata=[("call-id", identifier)], timeout=PATIENCE)
    for message in (b"one", b"two"):
        requests.put(message)
        same(next(answers), message)
    answers.cancel()
    same(code_of(lambda: next(answers)), grpc.StatusCode.CANCELLED)
    requests.close()
    ask_seen(channel, identifier.encode())


def health_and_reflection(channel):
    health = health_pb2_grpc.HealthStub(channel)
    request, serving = health_pb2.HealthCheckRequest(), health_pb2.HealthCheckResponse.SERVING
    same(health.Check(request, timeout=PATIENCE).status, serving)
    watch = health.Watch(request, timeout=PATIENCE)
    same(next(watch).status, serving)
    watch.cancel()
    reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
    asked = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
    answers = list(reflection.ServerReflectionInfo(asked, timeout=PATIENCE))
    same(len(answers), 1)
    names = [service.name for service in answers[0].list_services_response.service]
    same("grpc.health.v1.Health" in names, True)


class Stream:
    """One that stays open, on a channel of its own."""

    def __init__(self, channel):
        self.requests, self.sent = Requests(), 0
        self.answers = channel.stream_stream(path("Converse"))(self.requests)
        self.exchange()

    def exchange(self):
        self.sent += 1
        message = b"message %d" % self.sent
        self.requests.put(message)
        same(next(self.answers), message)

    def ends(self):
        return code_of(lambda: next(self.answers)).name


target, behaviour = sys.argv[1], globals()[sys.argv[2]]
directory = Path(sys.argv[3]) if len(sys.argv) > 3 else None


def connect():
    # Each channel has connections of its own.
    options = [("grpc.use_local_subchannel_pool", 1)]
    # A call that GOAWAY kept from being sent is sent again by the library if it still has the messages: 256 KiB of them by
    # default, and the largest here is larger.
    options.append(("grpc.per_rpc_retry_buffer_size", 1 << 24))
    if directory is None:
        return grpc.insecure_channel(target, options)
    roots, key, chain = ((directory / name).read_bytes() for name in ("ca.crt", "tls.key", "tls.crt"))
    options.append(("grpc.ssl_target_name_override", SERVER))
    return grpc.secure_channel(target, grpc.ssl_channel_credentials(roots, key, chain), options)


class Load:
    def __init__(self):
        self.lock = threading.Lock()
        self.channel, self.in_use = connect(), {}
        self.asked = self.answered = self.succeeded = self.failed = 0
        self.ended = False
        # By loop: how many times `call` had been said when it began the call that it ended last.
        self.done = [0] * LOOPS

    def attempt(self, channel):
        try:
            behaviour(channel)
        except Exception as error:
            text = " ".join(f"{type(error).__name__}: {error}".split())
            with self.lock:
                self.failed += 1
                print(f"failure: {text}", flush=True)
        else:
            with self.lock:
                self.succeeded += 1

    def loop(self, number):
        while not self.ended:
            with self.lock:
                asked, channel = self.asked, self.channel
                self.in_use[channel] = self.in_use.get(channel, 0) + 1
            self.attempt(channel)
            if number == 0 and asked > self.done[0]:
                with connect() as fresh:
                    self.attempt(fresh)
            with self.lock:
                self.in_use[channel] -= 1
                if channel is not self.channel and not self.in_use[channel]:
                    channel.close()
                self.done[number] = asked
                if min(self.done) > self.answered:
                    self.answered = min(self.done)
                    print("called", flush=True)
            time.sleep(BETWEEN_CALLS)

    def reload(self):
        with self.lock:
            old, self.channel = self.channel, connect()
            if not self.in_use.get(old):
                old.close()


load = Load()
loops = [threading.Thread(target=load.loop, args=[number], daemon=True) for number in range(LOOPS)]
for loop in loops:
    loop.start()
stream = None
for line in sys.stdin:
    word = line.strip()
    if word == "call":
        with load.lock:
            load.asked += 1
        continue
    try:
        if word == "reload":
            load.reload()
            answer = "reloaded"
        elif word == "open":
            stream = Stream(connect())
            answer = "opened"
        elif word == "exchange":
            stream.exchange()
            answer = "exchanged"
        elif word == "wait":
            answer = f"ended {stream.ends()}"
    except Exception as error:
        answer = f"failure: {type(error).__name__}: {error}"
    print(answer, flush=True)
load.ended = True
for loop in loops:
    loop.join()
print(f"succeeded {load.succeeded} failed {load.failed}", flush=True)
