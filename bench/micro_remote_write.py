"""What a data point costs on its way to remote write: `python -m bench.micro_remote_write`.

Parses with protobuf, translates, and writes messages of 1.0 and 2.0, alternating, of Butterfly's metrics as the
generator makes them, with and without the resource's attributes as labels. Prints nanoseconds a data point (CPU time of
the process, Python's call included) and the ratio of all that one version takes to protobuf's parse alone, without
which nobody who works with its objects can begin: median [min-max] over the rounds. A histogram is one data point and
becomes a sample a bucket.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import TYPE_CHECKING

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from bench.generator.clock import Clock, Moment
from bench.generator.metric_shape import MetricShape, Temporality
from bench.generator.traffic import Shape, Traffic
from bench.micro_wire import spread
from exporters.prometheus_remote_write.accumulate import Accumulator
from exporters.prometheus_remote_write.messages import Messages
from exporters.prometheus_remote_write.naming import Names
from exporters.prometheus_remote_write.text import bound_text, value_text
from exporters.prometheus_remote_write.translate import Translator

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

BEGAN = 1_700_000_000_000_000_000
LASTS = 10 * 10**9
PARSE, TRANSLATE, V1, V2 = "protobuf parse", "translate", "write 1.0", "write 2.0"


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


def timed(work: Callable[[], object], points: int) -> float:
    begin = time.process_time_ns()
    work()
    return (time.process_time_ns() - begin) / points


def compare(made: Sequence[Sequence[bytes]], *, resource_labels: bool) -> dict[str, list[float]]:
    """Nanoseconds a point of each step, by round."""
    translator = make(resource_labels=resource_labels)
    found: dict[str, list[float]] = {PARSE: [], TRANSLATE: [], V1: [], V2: []}
    for requests in made:
        now = BEGAN + LASTS * (len(made) + 1)
        begin = time.process_time_ns()
        tables = [translator.translate(request, now) for request in requests]
        spent = time.process_time_ns() - begin
        points = sum(table.rows for table in tables)
        found[TRANSLATE].append(spent / points)
        messages = [(Messages(table), table.lanes) for table in tables]
        found[V1].append(timed(lambda: [each.write_v1(*lane) for each, lanes in messages for lane in lanes], points))  # noqa: B023
        found[V2].append(timed(lambda: [each.write_v2(*lane) for each, lanes in messages for lane in lanes], points))  # noqa: B023
        found[PARSE].append(timed(lambda: [ExportMetricsServiceRequest.FromString(each) for each in requests], points))  # noqa: B023
    return found


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
        found = compare(made, resource_labels=resource_labels)
        found = report[name] = {step: values[1:] for step, values in found.items()}  # the first round fills the caches
        if options.json:
            continue
        print(f"{name}: {sum(map(len, made[-1])) / sum(1 for _ in made[-1]):.0f} B a request")
        for step, values in found.items():
            print(f"  {step:15} {spread(values, 0):>20} ns a point")
        for version in (V1, V2):
            ratios = [p / (t + w) for p, t, w in zip(found[PARSE], found[TRANSLATE], found[version], strict=True)]
            print(f"  1/{spread(ratios, 2)} of the parse, with {version}")
    if options.json:
        print(json.dumps(report))


if __name__ == "__main__":
    main()
