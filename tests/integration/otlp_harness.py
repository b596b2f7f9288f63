"""A running `otlp` receiver before a fake intake that keeps account of every byte it granted."""

from __future__ import annotations

import asyncio
import http.client
import logging
import socket
import struct
import threading
import time
from collections import Counter
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector.api import ANONYMOUS, BuildContext, Outcome, Overloaded, Signal
from collector.telemetry.exposition import resident_bytes
from receivers.otlp import OtlpReceiver
from receivers.otlp.signals import TRACES as TRACE_RULES

TRACES = TRACE_RULES.method
GOOD_WITHIN = 0.25
RSS_WITHIN = 64 << 20


class FakeIntake:
    """`outcome` is what every request comes to, `delay` seconds later; None never answers."""

    def __init__(self, outcome=Outcome.DELIVERED, *, room=1 << 40, delay=0.0, retry_after_ns=2_500_000_000):
        self.loop = asyncio.get_running_loop()
        self.outcome = outcome
        self.room = room
        self.delay = delay
        self.retry_after_ns = retry_after_ns
        self.lock = threading.Lock()
        self.open = 0
        self.granted = 0
        self.asked = []
        self.taken = []

    def admit(self, size):
        with self.lock:
            self.asked.append(size)
            if self.granted + size > self.room:
                raise Overloaded("full", self.retry_after_ns)
            self.granted += size
            self.open += 1
        return _Permit(self, size)

    @property
    def spans(self):
        return [span for payload, _ in self.taken for span in spans_of(payload)]


class _Permit:
    def __init__(self, intake, size):
        self.intake = intake
        self.size = size
        self.ended = False

    def grow(self, size):
        with self.intake.lock:
            assert not self.ended
            if self.intake.granted + size > self.intake.room:
                raise Overloaded("full", self.intake.retry_after_ns)
            self.intake.granted += size
            self.size += size

    def _end(self):
        with self.intake.lock:
            assert not self.ended, "a permit was ended twice"
            self.ended = True
            self.intake.open -= 1
            self.intake.granted -= self.size

    def release(self):
        self._end()

    def submit(self, payload, *, count, on_done, context=ANONYMOUS):
        self._end()
        intake = self.intake
        intake.taken.append((payload, count))
        if intake.outcome is not None:
            intake.loop.call_soon_threadsafe(
                intake.loop.call_later, intake.delay, on_done, intake.outcome, "secret reason", count
            )


class Running:
    def __init__(self, receiver, intake):
        self.receiver = receiver
        self.intake = intake
        self.ports = receiver.ports
        self.records = []

    def outcomes(self):
        """Requests by (transport, outcome), of all signals together."""
        found = Counter()
        for sample in self._samples("butterfly_receiver_requests"):
            if sample.name.endswith("_total"):
                found[sample.labels["transport"], sample.labels["outcome"]] += int(sample.value)
        return found

    def signals(self):
        """Requests by signal."""
        found = Counter()
        for sample in self._samples("butterfly_receiver_requests"):
            if sample.name.endswith("_total"):
                found[sample.labels["signal"]] += int(sample.value)
        return found

    def refusals(self):
        """Every refusal counter that has moved: requests by outcome, items by reason."""
        found = Counter()
        for (_, outcome), n in self.outcomes().items():
            if outcome != "ok":
                found[outcome] += n
        for sample in self._samples("butterfly_receiver_rejected_items"):
            if sample.name.endswith("_total"):
                found[sample.labels["reason"]] += int(sample.value)
        return found

    def _samples(self, family):
        for metric in self.receiver.context.meter.registry.collect():
            if metric.name == family:
                yield from metric.samples


@asynccontextmanager
async def serving(intake=None, *, signals=tuple(Signal), grpc_options=None, http_options=None, **config):
    """Both listeners on free ports, one intake for all `signals`; at the end every permit must have been ended."""
    intake = intake or FakeIntake()
    protocols = {
        "grpc": {"endpoint": "127.0.0.1:0", **(grpc_options or {})},
        "http": {"endpoint": "127.0.0.1:0", **(http_options or {})},
    }
    options = OtlpReceiver.Config.model_validate({"protocols": protocols, **config})
    assert OtlpReceiver.problems(options) == []
    log = logging.getLogger("otlp-under-test")
    receiver = OtlpReceiver(options, BuildContext("otlp", log, resident_bytes=resident_bytes))
    await receiver.start(dict.fromkeys(signals, intake))
    try:
        yield Running(receiver, intake)
    finally:
        await receiver.stop()
    assert intake.open == 0
    assert intake.granted == 0


def request(n=1, *, trace_id=None, span_id=b"\x02" * 8, name="layer.execute"):
    message = ExportTraceServiceRequest()
    spans = message.resource_spans.add().scope_spans.add().spans
    for number in range(n):
        spans.add(trace_id=trace_id or number.to_bytes(15, "big") + b"\x01", span_id=span_id, name=name)
    return message


def payload(n=1, **fields):
    return request(n, **fields).SerializeToString()


def spans_of(data):
    message = ExportTraceServiceRequest.FromString(data)
    return [span for rs in message.resource_spans for ss in rs.scope_spans for span in ss.spans]


def channel(port, *options):
    return grpc.insecure_channel(
        f"127.0.0.1:{port}", [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0), *options]
    )


def export(port, data, *, metadata=None, timeout=10.0, method=TRACES, **kwargs):
    """One call with raw bytes on a connection of its own: the response's bytes, or the `grpc.RpcError`."""
    with channel(port) as connection:
        try:
            return connection.unary_unary(method)(data, timeout=timeout, metadata=metadata, **kwargs)
        except grpc.RpcError as error:
            return error


def details(error):
    """The `grpc-status-details-bin` of an `RpcError`, or None."""
    return next((value for key, value in error.trailing_metadata() if key == "grpc-status-details-bin"), None)


def post(port, body=b"", *, headers=None, path="/v1/traces", method="POST", timeout=10.0):
    """One HTTP request: (status, headers, body)."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(method, path, body, {"Content-Type": "application/x-protobuf", **(headers or {})})
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read()
    finally:
        connection.close()


def raw(port, *pieces, wait=2.0, pause=0.0):
    """Bytes as they are, on a TCP connection of their own; whatever comes back until it closes or `wait` ends."""
    with socket.create_connection(("127.0.0.1", port), timeout=wait) as sock:
        try:
            for piece in pieces:
                sock.sendall(piece)
                time.sleep(pause)
        except OSError:
            pass
        got = b""
        try:
            while chunk := sock.recv(65536):
                got += chunk
        except OSError:
            pass
        return got


def abort(sock):
    """Close with a reset instead of a goodbye."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def forget_peak():
    Path("/proc/self/clear_refs").write_text("5")
    return peak()


def peak():
    """Most resident bytes since `forget_peak`, those of the test's own clients included."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


class Bystander:
    """A good sender with warm connections of its own, whose requests must be answered in time whatever others do."""

    def __init__(self, running):
        self.running = running
        self.channel = channel(running.ports["grpc"])
        self.call = self.channel.unary_unary(TRACES)
        self.http = http.client.HTTPConnection("127.0.0.1", running.ports["http"], timeout=5)
        self.send()
        self.rss = forget_peak()

    def send(self):
        began = time.perf_counter()
        assert self.call(payload(), timeout=5) == b""
        over_grpc = time.perf_counter() - began
        began = time.perf_counter()
        self.http.request("POST", "/v1/traces", payload(), {"Content-Type": "application/x-protobuf"})
        response = self.http.getresponse()
        assert (response.status, response.read()) == (200, b"")
        return over_grpc, time.perf_counter() - began

    def check(self, rss_within=RSS_WITHIN):
        over_grpc, over_http = self.send()
        assert over_grpc < GOOD_WITHIN
        assert over_http < GOOD_WITHIN
        grown = peak() - self.rss
        assert grown < rss_within, f"grew by {grown >> 20} MiB"

    def close(self):
        self.channel.close()
        self.http.close()
