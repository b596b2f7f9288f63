"""What scrubbing a trace request costs: `python -m bench.micro_pii`.

Parses with protobuf and scrubs, alternating, requests of Butterfly's traffic as the generator makes it (a fifth of the
spans have something personal, a good eighth an address), the same with nothing to find in it, and what a sender with
bad intentions makes up. Prints nanoseconds a span (CPU time of the process, Python's call included), MB/s and the ratio
to protobuf's parse of the same round: median [min-max] over the rounds. Hashes are remembered from one round to the
next, as those of busy users are; `new hashes` begins each round with a new scrubber.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import time
from functools import partial
from typing import TYPE_CHECKING

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from bench.generator.traces import Mix
from bench.generator.traffic import Shape, Traffic
from bench.micro_wire import spread
from bench.wire_requests import put
from collector.api import BuildContext, Secret
from processors.pii_scrubber import PiiScrubber

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from processors.pii_scrubber.scrubber import Scrubber

PARSE = "protobuf parse"
SPANS = 8000
HASHED = "a user id each"
ADVERSE: dict[str, Callable[[int], object]] = {
    "an e-mail each": lambda number: f"user{number}@example.com",
    HASHED: lambda number: number,
    "a new key each": lambda number: number,
    "runs of digits": lambda number: f"{number % 10}" * 60,
    "almost cards": lambda number: f"4111 1111 1111 {number % 10_000:04}",
    "almost addresses": lambda number: "1.2.3." * 10 + str(number),
    "at signs": lambda number: "@" * 59 + str(number % 10),
    "almost tokens": lambda number: "eyJ" * 20 + str(number % 10),
    "colons": lambda number: ":a" * 30 + str(number % 10),
}
"""The value of each attribute, by number; five attributes a span."""


def make() -> Scrubber:
    """A scrubber as `pii_scrubber: {pepper: ...}` makes it."""
    config = PiiScrubber.Config(pepper=Secret("a pepper for the benchmark"))
    return PiiScrubber(config, BuildContext("pii_scrubber", logging.getLogger("bench"))).make()


def traffic(batch: int, personal: float) -> list[bytes]:
    """One cycle of the generator's requests."""
    cycle = Traffic(Shape(batch=batch, spans=SPANS, mix=Mix(personal=personal)))
    ends = cycle.ends(1_700_000_000_000_000_000, 10**10)
    return [request.encode(0, ends) for request in cycle.requests]


def adverse(name: str) -> list[bytes]:
    """Requests of spans that all have such values."""
    value = ADVERSE[name]
    requests = []
    for first in range(0, 2000, 100):
        request = ExportTraceServiceRequest()
        scope = request.resource_spans.add().scope_spans.add()
        for number in range(first * 5, first * 5 + 500, 5):
            span = scope.spans.add(trace_id=random.randbytes(16), span_id=random.randbytes(8), name="layer.execute")
            values = [str(value(number + at)) for at in range(5)]
            if name == HASHED:
                put(span.attributes, {"user.id": values[0], "enduser.id": values[1], "user_id": values[2]})
            elif name == "a new key each":
                put(span.attributes, {f"key.{number}": "x" for number in values})
            else:
                put(span.attributes, {f"plain.{at}": text for at, text in enumerate(values)})
        requests.append(request.SerializeToString())
    return requests


def measure(function: Callable[[bytes], object], requests: Sequence[bytes], spans: int, seconds: float) -> float:
    """CPU nanoseconds a span, over whole rounds through `requests` that fill at least `seconds`."""
    rounds = 0
    begin = now = time.process_time()
    while not rounds or now - begin < seconds:
        for request in requests:
            function(request)
        rounds += 1
        now = time.process_time()
    return (now - begin) / rounds / spans * 1e9


def compare(
    name: str, requests: list[bytes], spans: int, *, fresh: bool, rounds: int, seconds: float
) -> dict[str, list[float]]:
    """Nanoseconds a span of the parse and of scrubbing, by round."""
    found: dict[str, list[float]] = {PARSE: [], name: []}
    scrub = partial(make().scrub, "traces")
    for _ in range(rounds):
        found[PARSE].append(measure(ExportTraceServiceRequest.FromString, requests, spans, seconds))
        if fresh:
            found[name].append(measure(partial(make().scrub, "traces"), requests, spans, 0))
        else:
            found[name].append(measure(scrub, requests, spans, seconds))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.2, help="of each measurement")
    parser.add_argument("--batch", type=int, default=100, help="spans a request")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    options = parser.parse_args()
    rounds = max(3, options.rounds)
    scrub = make().scrub
    personal = traffic(options.batch, Mix().personal)
    clean = [scrub("traces", request) or request for request in traffic(options.batch, 0)]
    rows: list[tuple[str, list[bytes], int, bool]] = [
        ("nothing to find", clean, SPANS, False),
        ("butterfly", personal, SPANS, False),
        ("butterfly, new hashes", personal, SPANS, True),
    ]
    rows += [(name, adverse(name), 2000, name == HASHED) for name in ADVERSE]
    report: dict[str, dict[str, list[float]]] = {}
    for name, requests, spans, fresh in rows:
        found = compare(name, requests, spans, fresh=fresh, rounds=rounds, seconds=options.seconds)
        report[name] = found
        if options.json:
            continue
        size = sum(map(len, requests)) / spans
        ratios = [parse / value for parse, value in zip(found[PARSE], found[name], strict=True)]
        speed = [size / value * 1000 for value in found[name]]
        print(
            f"{name:22} {size:5.0f} B {spread(found[name], 0):>20} ns a span {spread(speed, 0):>20} MB/s"
            f"   1/{spread(ratios, 2)} of the parse"
        )
    if options.json:
        print(json.dumps(report))


if __name__ == "__main__":
    main()
