"""Fuzzes the cardinality limiter: requests of any form and damaged ones, small limits, time, and states that go on.

python -m tests.fuzz.limit --seconds 60
"""

from __future__ import annotations

import argparse
import random
import time

from collector.wire import Malformed, scan_metrics
from processors.cardinality_limiter.limiter import Limiter
from processors.cardinality_limiter.options import CardinalityLimiterOptions
from processors.cardinality_limiter.rules import Rules
from tests.fuzz.mutate import damage, rearrange
from tests.property.otlp_messages import random_request, untidy

CONFIGURATIONS = (
    {},
    {"max_series": 3},
    {"max_series": 5, "action": "drop"},
    {"max_series_per_metric": 2, "action": "drop_label"},
    {"max_values_per_label": 1},
    {"max_series": 2, "max_metrics": 3, "max_aggregated_series": 4, "max_state_size": 4096, "max_offenders": 2},
)


def limiter(options: dict[str, object]) -> Limiter:
    config = CardinalityLimiterOptions.model_validate({"window": "1s"} | options)
    return Limiter(
        Rules(config),
        window_ns=config.window,
        max_series=config.max_series,
        max_metrics=config.max_metrics,
        max_aggregates=config.max_aggregated_series,
        max_state=config.max_state_size,
        max_offenders=config.max_offenders,
    )


def one(rnd: random.Random) -> None:
    """One life of a limiter."""
    options = rnd.choice(CONFIGURATIONS)
    ours, payload = limiter(options), b""
    for _ in range(rnd.randrange(1, 12)):
        before, request = payload, random_request(rnd, "metrics")
        payload = rnd.choice((request.SerializeToString(), untidy(rnd, request), payload))
        harmed = rnd.choice((payload, rearrange(rnd, payload), damage(rnd, payload, before)))
        try:
            limited = ours.limit_request(harmed)
            count = scan_metrics(harmed).count
        except Malformed:
            continue
        left = scan_metrics(harmed if limited is None else limited).count
        assert left == count - ours.removed + ours.sent, options
        ours.pass_time(rnd.choice((0, 10**7, 10**9)))
        if rnd.random() < 0.1:
            blob, ours = b"".join(ours.state_pieces()), limiter(options)
            ours.load_state(blob)
            assert b"".join(ours.state_pieces()) == blob


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=None)
    arguments = parser.parse_args()
    seed = random.SystemRandom().randrange(2**32) if arguments.seed is None else arguments.seed
    end, count = time.monotonic() + arguments.seconds, 0
    while time.monotonic() < end:
        one(random.Random(seed + count))
        count += 1
    print(f"{count} limiters from seed {seed}")


if __name__ == "__main__":
    main()
