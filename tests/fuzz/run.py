"""A mutation fuzz of the wire code against protobuf: `python -m tests.fuzz.run --seconds 60`.

Half of the time goes to traces, the other half to metrics and logs (`--signals` chooses). Prints the first payload on
which the two differ as hex and exits with 1. Under the sanitizers (`make sanitize`) a bad read or undefined behaviour
ends the process.
"""

from __future__ import annotations

import argparse
import random
import sys
import time

import numpy as np

from collector.wire.rewrite import select
from collector.wire.scan import scan
from tests.fuzz import oracle, signals, touching
from tests.fuzz.consumers import read_json, use_damaged, use_good
from tests.fuzz.generate import generate
from tests.fuzz.mutate import mutate
from tests.property.otlp_messages import random_request, untidy

CORPUS = 400
SIGNALS = ("traces", "metrics", "logs")


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


def fuzz_traces(rnd: random.Random, seconds: float) -> bool:
    """Whether nothing was found."""
    corpus = [generate(rnd).SerializeToString() for _ in range(CORPUS)]
    probes = oracle.standard_probes()
    cases = accepts = spans = matched = read = 0
    texts = [b"{}"] * CORPUS
    stop = time.monotonic() + seconds
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
            print(f"traces, case {cases}: {error}\n{payload.hex()}")
            return False
        cases += 1
        if good:
            found = scan(payload, probes)
            accepts += 1
            spans += found.count
            matched += int(np.count_nonzero(found.matches))
    print(
        f"traces: {cases} cases, {accepts} accepted by both, with {spans} spans, {matched} of them matched; "
        f"{read} damaged JSON texts read; no difference"
    )
    return True


def sample(rnd: random.Random, signal: str) -> bytes:
    request = random_request(rnd, signal)
    return untidy(rnd, request) if rnd.random() < 0.5 else request.SerializeToString()


def fuzz(rnd: random.Random, signal: str, seconds: float) -> bool:
    """Whether nothing was found in metrics or logs."""
    corpus = [sample(rnd, signal) for _ in range(CORPUS)]
    cases = accepts = items = 0
    stop = time.monotonic() + seconds
    while time.monotonic() < stop:
        if cases % 10 == 0:
            corpus[rnd.randrange(CORPUS)] = sample(rnd, signal)
        payload = mutate(rnd, rnd.choice(corpus), rnd.choice(corpus))
        try:
            if signals.check(signal, payload):
                accepts += 1
                items += touching.use_good(rnd, signal, payload)
            else:
                touching.use_damaged(rnd, signal, payload)
        except AssertionError as error:
            print(f"{signal}, case {cases}: {error}\n{payload.hex()}")
            return False
        cases += 1
    print(f"{signal}: {cases} cases, {accepts} accepted by both, with {items} items; no difference")
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=time.time_ns())
    parser.add_argument("--signals", nargs="+", default=SIGNALS, choices=SIGNALS)
    options = parser.parse_args()
    rnd = random.Random(options.seed)
    print(f"seed {options.seed}, scanner {sys.modules['collector.wire.scan'].__file__}", flush=True)
    shares = {signal: 2 if signal == "traces" else 1 for signal in options.signals}
    for signal, share in shares.items():
        seconds = options.seconds * share / sum(shares.values())
        if not (fuzz_traces(rnd, seconds) if signal == "traces" else fuzz(rnd, signal, seconds)):
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
