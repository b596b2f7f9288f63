"""No test of the graph may leave an acknowledgement unresolved."""

import gc

import pytest

from collector.ack import leaked


@pytest.fixture(autouse=True, scope="package")
def settled_heap():
    """What was imported before isn't looked at again by every collection: there are two for each test."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def no_leaks():
    gc.collect()
    before = leaked()
    yield
    gc.collect()
    assert leaked() == before
