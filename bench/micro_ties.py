"""What tying the signals together costs: `python -m bench.micro_ties`.

Butterfly's traffic, 2000 items a batch, a tenth of the traces kept. Prints nanoseconds a span, data point or log record
(CPU time of the process, Python's calls and the scan of the batch included): median [min-max] over the rounds, and the
ratio to protobuf's parse of the same bytes in the same rounds.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from bench.micro_pii import traffic
from bench.micro_wire import spread
from bench.wire_requests import logs_request, metrics_request
from collector.api import Ack, Batch, BuildContext, Decided, Signal, TraceBoard, find_exemplars, scan_logs, scan_metrics
from collector.connectors.span_metrics import SpanMetricsConnector
from processors.correlation import Correlation
from processors.exemplar_linker import ExemplarLinker
from processors.log_sampling import LogSampling

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

ITEMS = 2000
PARSE = "protobuf's parse"
_PARSE: dict[Signal, Callable[[bytes], object]] = {
    Signal.TRACES: ExportTraceServiceRequest.FromString,
    Signal.METRICS: ExportMetricsServiceRequest.FromString,
    Signal.LOGS: ExportLogsServiceRequest.FromString,
}


def decide(board: TraceBoard, hi: NDArray[np.uint64], lo: NDArray[np.uint64]) -> None:
    """A tenth of the traces is kept."""
    board.publish(Decided(hi, lo, lo % np.uint64(10) == 0))


def drop(payload: bytes, count: int) -> None:
    """Where reports go."""
    del payload, count


def processors(payloads: dict[Signal, bytes]) -> dict[str, tuple[Signal, Callable[[Batch], Iterable[Batch]]]]:
    """By row: the signal and what is measured."""
    board = TraceBoard()
    board.followed = True
    context = BuildContext("bench", logging.getLogger("bench"), board=board)
    exemplars = find_exemplars(payloads[Signal.METRICS], scan_metrics(payloads[Signal.METRICS]))
    decide(board, exemplars.trace_hi, exemplars.trace_lo)
    records = scan_logs(payloads[Signal.LOGS])
    decide(board, records.trace_hi, records.trace_lo)
    linker = ExemplarLinker(ExemplarLinker.Config(), context)
    sampling = LogSampling(LogSampling.Config(), context)
    correlation = Correlation(Correlation.Config(), context)
    for hi, lo in zip(records.trace_hi.tolist(), records.trace_lo.tolist(), strict=True):
        board.request_ids.tell(hi << 64 | lo, b"req-0123456789abcdef")
    explicit = SpanMetricsConnector.Config()
    native = SpanMetricsConnector.Config.model_validate(
        {"histogram": {"exponential": {}}, "exemplars": {"enabled": True}}
    )
    counting = {
        name: SpanMetricsConnector(config, context).stage(name, drop, durable=False)
        for name, config in (("span_metrics", explicit), ("span_metrics, exponential, exemplars", native))
    }
    return {
        "exemplar_linker": (Signal.METRICS, linker.process),
        "log_sampling": (Signal.LOGS, sampling.process),
        "correlation, learns": (Signal.TRACES, correlation.process),
        "correlation, tells logs": (Signal.LOGS, correlation.process),
        **{name: (Signal.TRACES, stage.process) for name, stage in counting.items()},
    }


def measure(rounds: int) -> dict[str, dict[str, list[float]]]:
    """Nanoseconds an item, and the ratio to the parse, by row and round."""
    payloads = {
        Signal.TRACES: b"".join(traffic(ITEMS, 0.2)[:1]),
        Signal.METRICS: metrics_request(ITEMS),
        Signal.LOGS: logs_request(ITEMS),
    }
    rows = processors(payloads)
    found: dict[str, dict[str, list[float]]] = {name: {"ns": [], "of the parse": []} for name in rows}
    for _ in range(rounds):
        parse = {signal: timed(partial(_PARSE[signal], payload)) for signal, payload in payloads.items()}
        for name, (signal, process) in rows.items():

            def run(signal: Signal = signal, process: Callable[[Batch], Iterable[Batch]] = process) -> None:
                for batch in process(Batch(payloads[signal], Ack.ignore(), signal=signal, count=ITEMS)):
                    batch.to_bytes()

            ns = timed(run)
            found[name]["ns"].append(ns)
            found[name]["of the parse"].append(ns / parse[signal])
    return found


def timed(run: Callable[[], object]) -> float:
    """CPU nanoseconds an item."""
    run()
    times, began = 0, time.process_time_ns()
    while time.process_time_ns() - began < 20_000_000 or times < 3:
        run()
        times += 1
    return (time.process_time_ns() - began) / (times * ITEMS)


def main() -> int:
    """Print the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = measure(options.rounds)
    if options.json:
        print(json.dumps(found))
        return 0
    for name, figures in found.items():
        print(f"{name:40} {spread(figures['ns'], 0)} ns an item   {spread(figures['of the parse'], 2)} of the parse")
    return 0


if __name__ == "__main__":
    sys.exit(main())
