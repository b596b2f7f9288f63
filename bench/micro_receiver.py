"""What one OTLP request costs on the gRPC listener, with nothing behind it: `python -m bench.micro_receiver`.

Requests per second and CPU-microseconds per request of the server's process, for a pipeline that answers at once and
for one that needs `--commit-ms` (a durable connector's group commit). The sender is a process of its own that keeps
`--outstanding` requests open.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import multiprocessing
import os
import resource
import threading
import time
from typing import TYPE_CHECKING

import grpc
import uvloop
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector.api import ANONYMOUS, BuildContext, Context, Outcome, Signal
from receivers.otlp import OtlpReceiver
from receivers.otlp.config import OtlpConfig
from receivers.otlp.signals import TRACES

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.synchronize import Event


_WARM = 500
"""Requests that are not counted."""


class Commits:
    """An intake that owns the data after `seconds`; all requests of one turn are answered together."""

    def __init__(self, seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._seconds = seconds
        self._lock = threading.Lock()
        self._open: list[Callable[[Outcome, str, int], None]] = []
        self.requests = 0
        self.warm = asyncio.Event()

    def admit(self, size: int) -> Commits:
        del size
        return self

    def grow(self, size: int) -> None:
        """Nothing is bounded here."""

    def release(self) -> None:
        """Nothing is bounded here."""

    def submit(
        self,
        payload: bytes,
        *,
        count: int,
        on_done: Callable[[Outcome, str, int], None],
        context: Context = ANONYMOUS,
    ) -> None:
        del payload, count, context
        with self._lock:
            self.requests += 1
            self._open.append(on_done)
            if len(self._open) > 1:
                return
        self._loop.call_soon_threadsafe(self._begin)

    def _begin(self) -> None:
        if self._seconds:
            self._loop.call_later(self._seconds, self._commit)
        else:
            self._commit()

    def _commit(self) -> None:
        with self._lock:
            done, self._open = self._open, []
        for on_done in done:
            on_done(Outcome.DELIVERED, "", 0)
        if self.requests >= _WARM:
            self.warm.set()


def payload(spans: int) -> bytes:
    """One request of `spans` spans of about 420 bytes."""
    request = ExportTraceServiceRequest()
    resource_spans = request.resource_spans.add()
    for key in range(10):
        resource_spans.resource.attributes.add(key=f"resource.{key}").value.string_value = "value of it"
    scope_spans = resource_spans.scope_spans.add()
    for number in range(spans):
        span = scope_spans.spans.add(trace_id=os.urandom(16), span_id=os.urandom(8), name="layer.execute")
        span.start_time_unix_nano = 1_700_000_000_000_000_000 + number
        span.end_time_unix_nano = span.start_time_unix_nano + 1_000_000
        for key in range(10):
            span.attributes.add(key=f"butterfly.attribute.{key}").value.string_value = "value of it"
    return request.SerializeToString()


def send(port: int, message: bytes, outstanding: int, stop: Event) -> None:
    """Keep `outstanding` requests open over four connections until `stop`."""
    channels = [
        grpc.insecure_channel(
            f"127.0.0.1:{port}", [("grpc.use_local_subchannel_pool", 1), ("grpc.primary_user_agent", str(n))]
        )
        for n in range(4)
    ]
    room = threading.Semaphore(outstanding)
    calls = [channel.unary_unary(TRACES.method, None, None) for channel in channels]
    while not stop.is_set():
        for call in calls:
            room.acquire()
            call.future(message).add_done_callback(lambda _: room.release())
    for channel in channels:
        channel.close()


async def measure(spans: int, commit: float, seconds: float, outstanding: int) -> str:
    """One row of the table."""
    intake = Commits(commit)
    config = {"protocols": {"grpc": {"endpoint": "127.0.0.1:0"}}}
    context = BuildContext("otlp", logging.getLogger("bench"))
    receiver = OtlpReceiver(OtlpConfig.model_validate(config), context)
    await receiver.start({Signal.TRACES: intake})
    processes = multiprocessing.get_context("spawn")
    stop = processes.Event()
    sender = processes.Process(
        target=send, args=(receiver.ports["grpc"], payload(spans), outstanding, stop), daemon=True
    )
    sender.start()
    await intake.warm.wait()
    before, began, first = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter(), intake.requests
    await asyncio.sleep(seconds)
    after, ended, last = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter(), intake.requests
    stop.set()
    await asyncio.to_thread(sender.join, 10)
    await receiver.stop()
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    requests = last - first
    rate, cost = requests / (ended - began), cpu / max(requests, 1) * 1e6
    return f"{spans:5} {commit * 1e3:9.1f} {rate:10,.0f} {cost:11.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spans", type=int, nargs="+", default=[1, 10, 100])
    parser.add_argument("--commit-ms", type=float, nargs="+", default=[0, 5])
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--outstanding", type=int, default=256)
    arguments = parser.parse_args()
    print("spans commit_ms requests/s  CPU us/req")
    for commit in arguments.commit_ms:
        for spans in arguments.spans:
            row = measure(spans, commit / 1e3, arguments.seconds, arguments.outstanding)
            print(uvloop.run(row), flush=True)


if __name__ == "__main__":
    main()
