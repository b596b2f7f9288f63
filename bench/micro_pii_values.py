"""What the value detectors of the PII scrubber cost: `python -m bench.micro_pii_values`.

Nanoseconds for the compiled first look at attribute values without findings, by sort; megabytes a second of long text
with and without findings; the dearest adversarial text against the median. Median [min-max] over the rounds.
"""

from __future__ import annotations

import argparse
import statistics
import time
from random import Random
from typing import TYPE_CHECKING

from bench.pii_corpus.negatives import negatives
from bench.pii_corpus.positives import MAKERS, positives
from processors.pii_scrubber.detect import KIND_NAMES, CustomPattern, ValueDetectors
from processors.pii_scrubber.detect.detectors import nanoseconds_to_look

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

VALUES = {
    "names": ("checkout", "butterfly-worker", "inference", "production", "tensor-router", "grpc", "layer.execute"),
    "enumerations": ("POST", "bf16", "attention", "ok", "quic", "STATUS_CODE_OK", "server", "linux"),
    "paths": ("/v1/completions", "/healthz", "butterfly.Consensus/Append", "/api/v2/products/{sku}/reviews"),
    "versions": ("2.4.1", "1.26.0-rc.1", "3.11", "v0.9.2"),
    "small numbers": ("17", "8443", "0.7312", "429", "[1,512]"),
    "node names": ("node-012", "gpu-7", "dc2-rack-14", "shard-03"),
    "hex ids": ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", "req-00f067aa0ba902b7"),
    "long numbers": ("1718000000123", "ckpt-00012345", "68719476736", "[1,512,4096]"),
    "hosts": ("ip-10-20-3-44.internal", "api.example.com:443", "localhost:4317"),
    "sentences": ("tensor shape does not match layer input", "peer did not answer in time, retrying in 250 ms"),
}
TYPICAL = ("names", "enumerations", "paths", "versions", "small numbers", "node names")
"""What most attributes of a span are; about 12 bytes on average."""

ADVERSARIAL = (
    "1 ", "12 ", "1.1.1.256 ", "1.2.3.4.5 ", "4111 1111 1111 1112 ", "4111111111111112 ", "0151 234567x ", "GB82 ",
    "+1", "(1", "@", "a@", "a.a@", "a%40", ":", "1:", "2001:1:1:1:1:1:1:1:1:", "eyJ.", "eyJhbGciOiJub25lIn0 ", "sk- ",
    "AKIA ", "d=", "password=[", "sig=!", "authorization: x x", "-----BEGIN ", "phone 12345 ", "%3D", "Bearer ",
    "a@b.co ", "10.1.2.3 ", "password=abcd ",
)  # fmt: skip
SENTENCE = "request took a while and the worker answered, then nothing else happened on this node today. "
SIZE = 1 << 18


def rounds_of(measure: Callable[[], float], rounds: int) -> str:
    figures = [measure() for _ in range(rounds)]
    return f"{statistics.median(figures):9.1f} [{min(figures):.1f}-{max(figures):.1f}]"


def cost(detectors: ValueDetectors, text: bytes) -> float:
    """Nanoseconds of CPU a byte, everything that `scrub` does included."""
    begin = time.thread_time_ns()
    detectors.scrub(text)
    return (time.thread_time_ns() - begin) / len(text)


def filled(parts: Iterable[bytes]) -> bytes:
    joined = b"\n".join(parts)
    return (joined * (SIZE // len(joined) + 1))[:SIZE]


def looks(detectors: ValueDetectors, rounds: int) -> None:
    print("first look at a value without findings, ns")
    for sort, values in (*VALUES.items(), ("TYPICAL", [value for name in TYPICAL for value in VALUES[name]])):
        raw = [value.encode() for value in values]
        mean = sum(map(len, raw)) / len(raw)

        def look(raw: list[bytes] = raw) -> float:
            return nanoseconds_to_look(detectors, raw, 20_000)[0]

        print(f"  {sort:14} {mean:5.1f} bytes {rounds_of(look, rounds)}")


def speeds(detectors: ValueDetectors, rounds: int) -> None:
    rnd = Random(1)
    texts = {
        "plain sentences": filled([SENTENCE.encode()]),
        "look-alikes": filled(example.text for example in negatives(2000, rnd)),
        "a value in each line": filled(example.text for kind in MAKERS for example in positives(kind, 200, 1)),
        "a value in 50 lines": filled(
            line for example in positives("email", 40, 1) for line in (example.text, *[SENTENCE.encode()] * 50)
        ),
    }
    print("scrubbing long text, MB/s")
    for name, text in texts.items():
        print(f"  {name:28} {rounds_of(lambda text=text: 1000 / cost(detectors, text), rounds)}")  # type: ignore[misc]


def worst(detectors: ValueDetectors, rounds: int) -> None:
    rnd = Random(2)
    ordinary = [filled(example.text for example in positives(kind, 200, 2)) for kind in MAKERS]
    ordinary += [filled(example.text for example in negatives(400, rnd)) for _ in MAKERS]
    middle = statistics.median(min(cost(detectors, text) for _ in range(rounds)) for text in ordinary)
    dear = sorted(
        ((min(cost(detectors, filled([unit.encode() * 99])) for _ in range(rounds)), unit) for unit in ADVERSARIAL),
        reverse=True,
    )
    print(f"worst case: the median text costs {middle:.2f} ns a byte, the dearest of {len(dear)} adversarial ones")
    for spent, unit in dear[:5]:
        print(f"  {unit!r:26} {spent:6.1f} ns a byte, {spent / middle:4.1f} times the median")


def patterns(rounds: int) -> None:
    custom = [
        CustomPattern(f"id{n}", rf"\b{name}-\d{{6}}\b") for n, name in enumerate(("EMP", "CUST", "ACC", "MRN", "PAT"))
    ]
    detectors = ValueDetectors([], custom)
    print("the user's patterns, ns a value of 16 bytes without a finding")
    for count in (1, 5):
        some = ValueDetectors([], custom[:count])

        def each(some: ValueDetectors = some) -> float:
            begin = time.thread_time_ns()
            for _ in range(5000):
                some.scrub(b"butterfly-worker")
            return (time.thread_time_ns() - begin) / 5000

        print(f"  {count} {rounds_of(each, rounds)}")
    print(
        f"  megabytes a second of plain sentences with all: {1000 / cost(detectors, filled([SENTENCE.encode()])):.0f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.micro_pii_values", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    detectors = ValueDetectors(KIND_NAMES)
    looks(detectors, rounds)
    speeds(detectors, rounds)
    worst(detectors, rounds)
    patterns(rounds)


if __name__ == "__main__":
    main()
