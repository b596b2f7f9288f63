"""What splitting a trace request by partition costs: `python -m bench.micro_partition`.

Parses with protobuf and splits over 1, 16 and 64 partitions the same pre-built payload (that of micro_wire: 420 bytes a
span, each span a trace of its own, which is the worst case for the split), alternating, and prints nanoseconds a span
(CPU time of the process, Python's call and the copying included) and the ratio to protobuf's parse of the same round:
median [min-max] over the rounds.
"""

from __future__ import annotations

import argparse
import json
from functools import partial
from typing import TYPE_CHECKING

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from bench.micro_wire import PARSE, measure, payload, spread
from collector.wire.partition import partition_spans

if TYPE_CHECKING:
    from collections.abc import Callable

LARGEST_MESSAGE = 1_000_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.2, help="of each measurement")
    parser.add_argument("--spans", type=int, nargs="+", default=[1, 10, 100, 500, 2000], help="a request")
    parser.add_argument("--partitions", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    options = parser.parse_args()
    report: dict[int, dict[str, list[float]]] = {}
    for spans in options.spans:
        data = payload(spans)
        rows: dict[str, Callable[[], object]] = {PARSE: partial(ExportTraceServiceRequest.FromString, data)}
        rows |= {
            f"{count} partitions": partial(partition_spans, data, count, LARGEST_MESSAGE)
            for count in options.partitions
        }
        found: dict[str, list[float]] = {name: [] for name in rows}
        for _ in range(max(3, options.rounds)):
            for name, function in rows.items():
                found[name].append(measure(function, spans, options.seconds))
        report[spans] = found
        if options.json:
            continue
        print(f"{spans} spans a request, {len(data) / spans:.0f} bytes a span")
        for name, values in found.items():
            ratios = [parse / value for parse, value in zip(found[PARSE], values, strict=True)]
            print(f"  {name:16} {spread(values, 1):>24} ns a span   1/{spread(ratios, 1)} of the parse")
    if options.json:
        print(json.dumps(report))


if __name__ == "__main__":
    main()
