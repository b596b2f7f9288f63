"""Prints precision and recall per kind: `python -m bench.pii_corpus [--count 5000] [--seed 1] [--errors 3]`.

Ends with 1 when a kind is below what it must reach.
"""

from __future__ import annotations

import argparse
import sys

from bench.pii_corpus.measure import corpus, measure, notes
from processors.pii_scrubber.detect import KIND_NAMES, Kind, ValueDetectors

LEAST = dict.fromkeys(("email", "card", "iban", "ipv4", "ipv6", "jwt", "keyed token"), 0.99) | {"phone": 0.95}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.pii_corpus", description=__doc__)
    parser.add_argument("--count", type=int, default=5000, help="values per kind")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--errors", type=int, default=0, help="examples of errors to print per kind")
    options = parser.parse_args(arguments)
    detectors = ValueDetectors(KIND_NAMES)

    def find(text: bytes) -> list[tuple[int, int, str]]:
        return [(start, end, Kind(kind).name.lower()) for start, end, kind in detectors.find(text)]

    failed = False
    print(f"{'kind':12} {'values':>7} {'recall':>8} {'findings':>9} {'precision':>10}  least")
    for name, score in measure(find, corpus(options.count, options.seed)).items():
        least = LEAST.get(name, 0.0)
        failed = failed or min(score.recall, score.precision) < least
        print(
            f"{name:12} {score.values:7} {score.recall:8.4f} {score.findings:9} {score.precision:10.4f}"
            f"  {least or '-'}{'  BELOW' if min(score.recall, score.precision) < least else ''}"
        )
        for title, examples in (("missed", score.missed), ("wrong", score.wrong)):
            for note, number in notes(examples)[: options.errors * 3]:
                print(f"    {title} {number:5} {note}")
            for example in examples[: options.errors]:
                print(f"    {title}: {example.text[:160]!r}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
