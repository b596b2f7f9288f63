"""A million series in bounded memory, measured on the process."""

import gc

import numpy as np
from cardinality_requests import limiter

from bench.micro_cardinality import POINTS, Requests, resident

SERIES = 1_000_000


def test_a_million_series_take_less_than_60_bytes_each():
    requests, place = Requests(), np.arange(POINTS)
    ours = limiter(max_series=SERIES, max_state_size="2MiB")
    gc.collect()
    before = resident()
    for start in range(SERIES // POINTS):
        assert ours.limit_request(requests.of(POINTS * start + place)) is None
    assert ours.active == SERIES
    assert ours.memory < 60 * SERIES
    assert resident() - before < 100 * SERIES
    # more of them change nothing: those that are there pass, and what is new is folded in bounded memory
    full = ours.memory
    for start in range(100):
        ours.limit_request(requests.of(POINTS * (SERIES + start) + place))
        assert ours.limit_request(requests.of(POINTS * start + place)) is None
    assert ours.active == SERIES
    assert ours.memory - full < 8 << 20
    assert ours.state_bytes < 3 << 20


def test_folded_series_take_less_than_200_bytes_each():
    requests, place = Requests(), np.arange(POINTS)
    ours = limiter(max_series_per_metric=1)
    gc.collect()
    before, series = resident(), 200_000
    for start in range(series // POINTS):
        ours.limit_request(requests.of(POINTS * start + place))
    assert ours.folded > series - 20
    assert ours.memory < 200 * series
    assert resident() - before < 250 * series
