"""No test of the graph may leave an acknowledgement unresolved."""

import gc

import pytest

from collector.ack import leaked


@pytest.fixture(autouse=True)
def no_leaks():
    gc.collect()
    before = leaked()
    yield
    gc.collect()
    assert leaked() == before
