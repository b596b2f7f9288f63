"""A mutation fuzz of the wire code against protobuf: `python -m tests.fuzz.run --seconds 60`.

Prints the first payload on which the two differ as hex and exits with 1. Under the sanitizers (`make sanitize`) a bad
read or undefined behaviour ends the process.
"""

from __future__ import annotations

import argparse
import random
import sys
import time

import numpy as np

from collector.wire.rewrite import select
from collector.wire.scan import scan
from tests.fuzz import oracle
from tests.fuzz.consumers import read_json, use_damaged, use_good
from tests.fuzz.generate import generate
from tests.fuzz.mutate import mutate

CORPUS = 400


def try_select(rnd: random.Random, payload: bytes) -> None:
    index = scan(payload)
    mask = np.array([rnd.random() < 0.5 for _ in range(index.count)], np.bool_)
    kept = oracle.parse(select(payload, index, mask))
    assert kept is not None, "the selection is not a request"
    truth = oracle.parse(payload)
    assert truth is not None
    expected = [span for (_, _, _, span), keep in zip(oracle.spans(truth), mask, strict=True) if keep]
    found = [span for _, _, _, span in oracle.spans(kept)]
    assert [span.SerializeToString(deterministic=True) for span in found] == [
        span.SerializeToString(deterministic=True) for span in expected
    ], "the selection holds other spans"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=time.time_ns())
    options = parser.parse_args()
    rnd = random.Random(options.seed)
    corpus = [generate(rnd).SerializeToString() for _ in range(CORPUS)]
    probes = oracle.standard_probes()
    print(f"seed {options.seed}, scanner {sys.modules['collector.wire.scan'].__file__}")
    cases = accepts = spans = matched = read = 0
    texts = [b"{}"] * CORPUS
    stop = time.monotonic() + options.seconds
    while time.monotonic() < stop:
        # Mutants never go back into the corpus: small ones survive best, and soon all would be empty.
        if cases % 10 == 0:
            corpus[rnd.randrange(CORPUS)] = generate(rnd).SerializeToString()
        payload = mutate(rnd, rnd.choice(corpus), rnd.choice(corpus))
        try:
            good = oracle.check(payload, probes)
            if good:
                try_select(rnd, payload)
                texts[rnd.randrange(len(texts))] = use_good(rnd, payload)
            else:
                use_damaged(rnd, payload)
            read += read_json(rnd, rnd.choice(texts), rnd.choice(texts))
        except AssertionError as error:
            print(f"case {cases}: {error}\n{payload.hex()}")
            return 1
        cases += 1
        if good:
            found = scan(payload, probes)
            accepts += 1
            spans += found.count
            matched += int(np.count_nonzero(found.matches))
    print(
        f"{cases} cases, {accepts} accepted by both, with {spans} spans, {matched} of them matched; "
        f"{read} damaged JSON texts read; no difference"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
