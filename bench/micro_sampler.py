"""What the tail sampler costs a span: `python -m bench.micro_sampler`.

Each row keeps a number of traces open and feeds records of 100 spans in random order of traces, so that nearly every
span is a cache miss in the table. `observe` holds the scan with Butterfly's policies, the table and the decisions that
fall due; `process` the scan, the verdicts and the rewriting of the tenth that is kept. The best of three rounds counts.
"""

from __future__ import annotations

import json
import logging
import sys
import time

import numpy as np
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector.api import Ack, Batch, BuildContext
from processors.tail_sampling import TailSampling

SPANS = 100
RECORDS = 2_000
LIVE = (20_000, 500_000, 2_000_000)
ROUNDS = 3
WAIT_NS = 600 * 10**9
POLICIES = [
    {"name": "errors", "type": "status_code", "status_code": {"status_codes": ["ERROR"]}},
    {"name": "slow", "type": "latency", "latency": {"threshold_ms": 5000}},
    {"name": "byzantine", "type": "byzantine"},
    {"name": "rest", "type": "probabilistic", "probabilistic": {"sampling_percentage": 10}},
]
_MARK = bytes(range(200, 216))


def template() -> bytes:
    """A record of 100 spans of about 420 bytes, each with a trace id that is to be replaced."""
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    for number in range(10):
        resource.resource.attributes.add(key=f"resource.{number}").value.string_value = "value"
    spans = resource.scope_spans.add().spans
    for number in range(SPANS):
        span = spans.add(
            trace_id=_MARK, span_id=number.to_bytes(8, "big"), name="layer.execute", parent_span_id=b"parent00"
        )
        span.start_time_unix_nano, span.end_time_unix_nano = 10**18, 10**18 + 10**7
        for attribute in range(10):
            span.attributes.add(key=f"butterfly.attribute.{attribute}").value.string_value = "some value"
    return request.SerializeToString()


def records(ids: np.ndarray, rng: np.random.Generator, count: int) -> list[bytes]:
    """`count` records whose spans belong to traces chosen at random."""
    plain = template()
    places = [at for at in range(len(plain)) if plain.startswith(_MARK, at)]
    out = []
    for _ in range(count):
        buffer = bytearray(plain)
        for at, row in zip(places, rng.integers(0, len(ids), len(places)), strict=True):
            buffer[at : at + 16] = ids[row].tobytes()
        out.append(bytes(buffer))
    return out


def open_traces(sampler: TailSampling, ids: np.ndarray) -> int:
    """Have every trace seen once; return the next position."""
    plain = template()
    places = [at for at in range(len(plain)) if plain.startswith(_MARK, at)]
    buffer = np.frombuffer(plain, np.uint8).copy()
    where = (np.array(places)[:, None] + np.arange(16)).ravel()
    position = 0
    for start in range(0, len(ids), SPANS):
        some = ids[start : start + SPANS]
        buffer[where] = np.resize(some.view(np.uint8), len(where))
        sampler.observe(Batch(buffer.tobytes(), Ack.ignore()), position, position + 1, position)
        position += 1
    return position


def measure(live: int) -> dict[str, float]:
    """Nanoseconds a span with `live` open traces."""
    rng = np.random.default_rng(live)
    ids = rng.integers(1, 2**64, (live, 2), dtype=np.uint64)
    config = TailSampling.Config.model_validate(
        {"policies": POLICIES, "decision_wait": "10m", "num_traces": 4_000_000, "max_spans_per_trace": 0}
    )
    sampler = TailSampling(config, BuildContext("bench", logging.getLogger("bench")))
    position = open_traces(sampler, ids)
    traffic = records(ids, rng, RECORDS)
    observe, process = [], []
    for _ in range(ROUNDS):
        began = time.process_time_ns()
        for payload in traffic:
            sampler.observe(Batch(payload, Ack.ignore()), position, position + 1, position)
            position += 1
        observe.append((time.process_time_ns() - began) / (RECORDS * SPANS))
    table = len(sampler._traces), sampler._traces.memory  # noqa: SLF001 - the figure has no other door
    began = time.process_time_ns()
    sampler.tick(2 * WAIT_NS)
    decide = (time.process_time_ns() - began) / live
    for _ in range(ROUNDS):
        began = time.process_time_ns()
        for payload in traffic:
            list(sampler.process(Batch(payload, Ack.ignore())))
        process.append((time.process_time_ns() - began) / (RECORDS * SPANS))
        sampler._copies.clear()  # noqa: SLF001 - or every kept span of the next round would be a copy
    return {
        "live_traces": live,
        "observe_ns_per_span": round(min(observe), 1),
        "process_ns_per_span": round(min(process), 1),
        "decide_ns_per_trace": round(decide, 1),
        "bytes_per_open_trace": round(table[1] / table[0], 1),
    }


def main() -> None:
    """Print one line of JSON a row; arguments are numbers of live traces."""
    for live in [int(argument) for argument in sys.argv[1:]] or LIVE:
        print(json.dumps(measure(live)), flush=True)


if __name__ == "__main__":
    main()
