"""An OTLP/gRPC server that counts spans and bytes, and can write every span's ids to a file."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np

from bench.ledger import RECORD
from bench.sink.sockets import received_bytes
from collector.wire.scan import scan

if TYPE_CHECKING:
    from pathlib import Path

SERVICE = "opentelemetry.proto.collector.trace.v1.TraceService"


class Sink:
    """Listens as soon as it is made. `port` 0 takes a free one. `ids`: a file of `bench.ledger.RECORD`s."""

    def __init__(self, port: int = 0, ids: Path | None = None, *, threads: int = 4) -> None:
        self._lock = threading.Lock()
        self._spans = self._requests = self._payload = 0
        self._base: dict[int, int] = {}
        self._ids = ids.open("wb", buffering=0) if ids else None
        self._server = grpc.server(
            ThreadPoolExecutor(threads),
            options=[("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)],
        )
        handlers = {"Export": grpc.unary_unary_rpc_method_handler(self._export)}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        self.port: int = self._server.add_insecure_port(f"127.0.0.1:{port}")
        self._server.start()

    def _export(self, payload: bytes, _context: Any) -> bytes:
        index = scan(payload)
        with self._lock:
            self._spans += index.count
            self._requests += 1
            self._payload += len(payload)
            if self._ids is not None:
                rows = np.empty(index.count, RECORD)
                rows["high"], rows["low"] = index.trace_hi, index.trace_lo
                rows["span"] = index.span_id
                rows["at"] = time.monotonic_ns()
                self._ids.write(rows.tobytes())
        return b""

    def reset(self) -> None:
        """Count from zero, with an empty file of ids."""
        with self._lock:
            if self._ids is not None:
                self._ids.seek(0)
                self._ids.truncate()
            self._spans = self._requests = self._payload = 0
            self._base = received_bytes(self.port)

    def stats(self) -> dict[str, int]:
        """Since the last reset: spans, requests, bytes of payload once inflated, and bytes that came over TCP."""
        received = received_bytes(self.port)
        with self._lock:
            return {
                "spans": self._spans,
                "requests": self._requests,
                "payload_bytes": self._payload,
                "tcp_bytes": sum(count - self._base.get(peer, 0) for peer, count in received.items()),
            }

    def close(self) -> None:
        self._server.stop(0.2).wait()
        if self._ids is not None:
            self._ids.close()
