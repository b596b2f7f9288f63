"""What a data point costs on its way to remote write: `python -m bench.micro_remote_write`.

Translates Butterfly's metrics as the generator makes them and writes messages of 1.0 and 2.0, with and without the
resource's attributes as labels; and does as little as a program must that works with protobuf's objects: parse, one
series a number or bucket with sorted labels, serialise 1.0. Prints nanoseconds a data point (CPU time of the process,
Python's calls included) and how often the compiled way fits into the other: median [min-max] over the rounds. A
histogram is one data point and becomes a sample a bucket. `remember` is what the memory of sent samples takes for each
sample: look whether it is known, note that it is taken, append it to a file; a million others are known.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from bench.generator.clock import Clock, Moment
from bench.generator.metric_shape import MetricShape, Temporality
from bench.generator.traffic import Shape, Traffic
from bench.micro_wire import spread
from bench.remote_write_messages import WriteRequest
from exporters.prometheus_remote_write.accumulate import Accumulator
from exporters.prometheus_remote_write.messages import Messages
from exporters.prometheus_remote_write.naming import Names
from exporters.prometheus_remote_write.sent_file import SentMemory
from exporters.prometheus_remote_write.text import bound_text, value_text
from exporters.prometheus_remote_write.translate import Translator

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from exporters.prometheus_remote_write.samples import SampleTable

BEGAN = 1_700_000_000_000_000_000
LASTS = 10 * 10**9
PARSE, OBJECTS, TRANSLATE, V1, V2 = "protobuf's parse", "with its objects", "translate", "write 1.0", "write 2.0"
REMEMBER = "remember"


def make(*, resource_labels: bool) -> Translator:
    """A translator as the exporter's defaults make it."""
    return Translator(
        bytes(range(32)),
        Accumulator(1_000_000, LASTS * 1000),
        names=Names("UnderscoreEscapingWithSuffixes").translate,
        render=value_text,
        bound=bound_text,
        resource_labels=resource_labels,
        lanes=5,
    )


def rounds_of(temporality: Temporality, series: int, rounds: int) -> list[list[bytes]]:
    """The generator's requests, round after round, and each round one payload a sender."""
    traffic = Traffic(Shape(spans=8000, metrics=MetricShape(series=series, temporality=temporality)))
    if traffic.metrics is None:
        raise AssertionError
    clock, made, before = Clock(BEGAN), [], None
    for number in range(rounds):
        clock.start(number, BEGAN + number * LASTS, LASTS)
        moment = Moment(number, number, len(traffic.requests), BEGAN + (number + 1) * LASTS)
        made.append([request.encode(moment, before, clock) for request in traffic.metrics.requests])
        before = moment
    return made


def with_objects(payload: bytes, *, resource_labels: bool) -> bytes:
    """A WriteRequest of the gauges, sums and classic histograms, made with protobuf's objects."""
    written = WriteRequest()
    for group in ExportMetricsServiceRequest.FromString(payload).resource_metrics:
        shared = {pair.key: pair.value for pair in group.resource.attributes} if resource_labels else {}
        for scope in group.scope_metrics:
            for metric in scope.metrics:
                kind = metric.WhichOneof("data") or "gauge"
                name = metric.name.replace(".", "_")
                for point in getattr(metric, kind).data_points:
                    labels = shared | {pair.key: pair.value for pair in point.attributes}
                    pairs = {key.replace(".", "_"): value.string_value or str(value) for key, value in labels.items()}
                    if kind in {"gauge", "sum"}:
                        add_series(written, {**pairs, "__name__": name}, point.as_double or point.as_int, point)
                    elif kind == "histogram":
                        total = 0
                        for bound, count in zip(
                            (*point.explicit_bounds, float("inf")), point.bucket_counts, strict=True
                        ):
                            total += count
                            add_series(written, {**pairs, "__name__": f"{name}_bucket", "le": str(bound)}, total, point)
                        add_series(written, {**pairs, "__name__": f"{name}_sum"}, point.sum, point)
                        add_series(written, {**pairs, "__name__": f"{name}_count"}, point.count, point)
    message: bytes = written.SerializeToString()
    return message


def add_series(written: Any, labels: dict[str, str], value: float, point: Any) -> None:
    series = written.timeseries.add()
    for name, text in sorted(labels.items()):
        series.labels.add(name=name, value=text)
    series.samples.add(value=value, timestamp=point.time_unix_nano // 10**6)


def remember(memory: SentMemory, tables: Sequence[SampleTable]) -> None:
    for table in tables:
        for begin, end in table.lanes:
            memory.note(table, begin, memory.sift(table, begin, end))


def timed(work: Callable[[], object], points: int) -> float:
    begin = time.process_time_ns()
    work()
    return (time.process_time_ns() - begin) / points


def compare(made: Sequence[Sequence[bytes]], memory: SentMemory, *, resource_labels: bool) -> dict[str, list[float]]:
    """Nanoseconds a point of each step, by round."""
    translator = make(resource_labels=resource_labels)
    found: dict[str, list[float]] = {PARSE: [], OBJECTS: [], TRANSLATE: [], V1: [], V2: [], REMEMBER: []}
    samples = points = 0
    for requests in made:
        now = BEGAN + LASTS * (len(made) + 1)
        begin = time.process_time_ns()
        tables = [translator.translate(request, now) for request in requests]
        spent = time.process_time_ns() - begin
        points = sum(table.rows for table in tables)
        samples = sum(end - begin for table in tables for begin, end in table.lanes)
        found[TRANSLATE].append(spent / points)
        messages = [(Messages(table), lane) for table in tables for lane in table.lanes]
        for step, write in ((V1, Messages.write_v1), (V2, Messages.write_v2)):
            found[step].append(timed(partial(written_all, write, messages), points))
        found[REMEMBER].append(timed(partial(remember, memory, tables), samples))
        parse = ExportMetricsServiceRequest.FromString
        build = partial(with_objects, resource_labels=resource_labels)
        for name, function in ((PARSE, parse), (OBJECTS, build)):
            found[name].append(timed(partial(list, map(function, requests)), points))
    print(f"  {points} points, {samples / points:.1f} samples each", file=sys.stderr)
    return found


def written_all(write: Callable[..., bytes], messages: Sequence[tuple[Messages, tuple[int, int]]]) -> list[bytes]:
    return [write(each, *lane) for each, lane in messages]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--series", type=int, default=10_000, help="at least")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    options = parser.parse_args()
    report: dict[str, dict[str, list[float]]] = {}
    cases: tuple[tuple[str, Temporality, bool], ...] = (
        ("cumulative", "cumulative", False),
        ("cumulative, resource labels", "cumulative", True),
        ("delta", "delta", False),
    )
    for name, temporality, resource_labels in cases:
        made = rounds_of(temporality, options.series, max(3, options.rounds) + 1)
        with tempfile.TemporaryDirectory() as folder:
            memory = SentMemory(Path(folder) / "sent", 1_500_000, logging.getLogger(__name__))
            memory.open(bytes(32), "bench")
            memory.samples.grow(1 << 21, random.Random(1).randbytes(1_000_000 * 16))
            found = compare(made, memory, resource_labels=resource_labels)
            memory.close()
        found = report[name] = {step: values[1:] for step, values in found.items()}  # the first round fills the caches
        if options.json:
            continue
        print(f"{name}: {sum(map(len, made[-1])) / len(made[-1]):.0f} B a request")
        for step, values in found.items():
            print(f"  {step:15} {spread(values, 0):>20} ns a {'sample' if step == REMEMBER else 'point'}")
        for version in (V1, V2):
            ratios = [p / (t + w) for p, t, w in zip(found[OBJECTS], found[TRANSLATE], found[version], strict=True)]
            print(f"  1/{spread(ratios, 1)} of the way with objects, with {version}")
    if options.json:
        print(json.dumps(report))


if __name__ == "__main__":
    main()
