"""An OTLP/gRPC server that counts spans, points, records and bytes, and can write every span's ids to a file."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np

from bench.ledger import RECORD
from bench.sink.sockets import received_bytes
from collector.wire.logs import scan_logs
from collector.wire.points import scan_metrics
from collector.wire.scan import scan

if TYPE_CHECKING:
    from pathlib import Path

_COUNTED = ("spans", "points", "records", "requests", "payload_bytes")
_PACKAGE = "opentelemetry.proto.collector"


class Sink:
    """Listens as soon as it is made. `port` 0 takes a free one. `ids`: a file of `bench.ledger.RECORD`s."""

    def __init__(self, port: int = 0, ids: Path | None = None, *, threads: int = 4) -> None:
        self._lock = threading.Lock()
        self._counts = dict.fromkeys(_COUNTED, 0)
        self._base: dict[int, int] = {}
        self._ids = ids.open("wb", buffering=0) if ids else None
        self._server = grpc.server(
            ThreadPoolExecutor(threads),
            options=[("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)],
        )
        services = {"trace": self._spans, "metrics": self._metrics, "logs": self._logs}
        self._server.add_generic_rpc_handlers(
            tuple(
                grpc.method_handlers_generic_handler(
                    f"{_PACKAGE}.{name}.v1.{name.title()}Service",
                    {"Export": grpc.unary_unary_rpc_method_handler(export)},
                )
                for name, export in services.items()
            )
        )
        self.port: int = self._server.add_insecure_port(f"127.0.0.1:{port}")
        self._server.start()

    def _spans(self, payload: bytes, _context: Any) -> bytes:
        index = scan(payload)
        self._count("spans", index.count, len(payload))
        if self._ids is not None:
            rows = np.empty(index.count, RECORD)
            rows["high"], rows["low"] = index.trace_hi, index.trace_lo
            rows["span"] = index.span_id
            rows["at"] = time.monotonic_ns()
            with self._lock:
                self._ids.write(rows.tobytes())
        return b""

    def _metrics(self, payload: bytes, _context: Any) -> bytes:
        self._count("points", scan_metrics(payload).count, len(payload))
        return b""

    def _logs(self, payload: bytes, _context: Any) -> bytes:
        self._count("records", scan_logs(payload).count, len(payload))
        return b""

    def _count(self, items: str, number: int, size: int) -> None:
        with self._lock:
            self._counts[items] += number
            self._counts["requests"] += 1
            self._counts["payload_bytes"] += size

    def reset(self) -> None:
        """Count from zero, with an empty file of ids."""
        with self._lock:
            if self._ids is not None:
                self._ids.seek(0)
                self._ids.truncate()
            self._counts = dict.fromkeys(_COUNTED, 0)
            self._base = received_bytes(self.port)

    def stats(self) -> dict[str, int]:
        """Since the last reset: spans, points, records, requests, bytes of payload once inflated, and bytes that came
        over TCP."""
        received = received_bytes(self.port)
        with self._lock:
            tcp = sum(count - self._base.get(peer, 0) for peer, count in received.items())
            return {**self._counts, "tcp_bytes": tcp}

    def close(self) -> None:
        self._server.stop(0.2).wait()
        if self._ids is not None:
            self._ids.close()
