"""A mutation fuzz of the remote-write translation: `python -m tests.fuzz.remote_write --seconds 60`.

What protobuf accepts must come out as messages that it accepts, with labels that are sorted, unique and not empty and
samples in order; anything else must be refused cleanly or come out as bytes. Prints the first payload that breaks this
as hex and exits with 1. Under the sanitizers (`make sanitize`) a bad read or undefined behaviour ends the process.
"""

from __future__ import annotations

import argparse
import random
import sys
import time

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from bench.remote_write_messages import Request, WriteRequest
from exporters.prometheus_remote_write.accumulate import Accumulator
from exporters.prometheus_remote_write.messages import Messages
from exporters.prometheus_remote_write.naming import Names
from exporters.prometheus_remote_write.sent import SentSamples
from exporters.prometheus_remote_write.text import bound_text, value_text
from exporters.prometheus_remote_write.translate import Translator
from tests.fuzz.mutate import mutate
from tests.property.prw_metrics import NOW, metrics_request
from tests.property.prw_reference import read_v1, read_v2

REQUESTS = 8
"""That one translator is given, one after the other."""


def translator(rnd: random.Random, totals: Accumulator) -> Translator:
    names = Names(rnd.choice(("UnderscoreEscapingWithSuffixes", "NoTranslation")))
    return Translator(
        rnd.randbytes(32),
        totals,
        names=names.translate,
        render=value_text,
        bound=bound_text,
        resource_labels=rnd.random() < 0.5,
        scope_labels=rnd.random() < 0.5,
        utf8=names.utf8,
        external=((b"region", b"eu"), (b"a", b"external")),
        lanes=rnd.choice((1, 3)),
    )


def check(rnd: random.Random, made: Translator, payload: bytes) -> bool:
    """Whether protobuf accepts the payload. Raises `AssertionError`."""
    try:
        ExportMetricsServiceRequest.FromString(payload)
        accepted = True
    except Exception:
        accepted = False
    try:
        table = made.translate(payload, NOW + rnd.choice((0, 10**15)))
    except ValueError:
        assert not accepted, "protobuf accepts it"
        return False
    known = SentSamples()
    known.begin(1 << 16)
    lanes = [(begin, known.sift(table, begin, end)) for begin, end in table.lanes]
    assert lanes == table.lanes, "nothing was sent"
    messages = Messages(table)
    first: dict = {}
    second: dict = {}
    for at, end in table.lanes:
        begin = at
        while begin < end:
            stop = table.next(begin, end, rnd.choice((1, 5, 10**6)), rnd.choice((100, 10**6)))
            one, two = messages.write_v1(begin, stop, metadata=True), messages.write_v2(begin, stop)
            if accepted:
                read_v1(WriteRequest.FromString(one), first, {})
                read_v2(Request.FromString(two), second, {})
            assert sum(table.counts(begin, stop)[:2]) == stop - begin
            if rnd.random() < 0.2:
                table.refuse_range(begin, stop, 12)
            if stop - begin <= known.room:
                known.note(table, begin, stop)
                assert known.sift(table, begin, stop) == begin
            begin = stop
    assert first == second
    assert len(table.reasons) == table.rows
    return accepted


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=time.time_ns() & 0xFFFFFFFF)
    options = parser.parse_args()
    rnd = random.Random(options.seed)
    end = time.monotonic() + options.seconds
    tried = accepted = 0
    while time.monotonic() < end:
        totals = Accumulator(rnd.choice((3, 1000)), rnd.choice((1, 10**18)))
        made = translator(rnd, totals)
        for _ in range(REQUESTS):
            payload = b"".join(
                metrics_request(rnd, rnd.choice((1, 2))).SerializeToString() for _ in range(rnd.randint(1, 3))
            )
            if rnd.random() < 0.7:
                payload = mutate(rnd, payload, metrics_request(rnd).SerializeToString())
            try:
                accepted += check(rnd, made, payload)
            except AssertionError as error:
                print(f"seed {options.seed}: {error}\n{payload.hex()}")
                return 1
            tried += 1
        changed, _ = totals.take_changes()
        again = Accumulator(1000, 10**18)
        for name, row in changed:
            again.load(name, row)
    print(f"seed {options.seed}: {tried} requests, {accepted} of them accepted by protobuf")
    return 0


if __name__ == "__main__":
    sys.exit(main())
