"""Merging takes the records of a log apart into groups, and nothing else: order, contexts, sizes are as they were."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.ack import Ack, Outcome
from collector.batch import Context, Signal
from collector.component.connector import Record
from collector.graph import merging
from collector.graph.merging import groups, merged
from collector.telemetry.ledger import Account

LIMIT = 20
FIELDS = st.tuples(
    st.binary(max_size=30), st.integers(0, 9), st.sampled_from(["", "a", "b"]), st.sampled_from(list(Signal))
)


@pytest.fixture(autouse=True, scope="module")
def small():
    patch = pytest.MonkeyPatch()
    patch.setattr(merging, "MERGE_BYTES", LIMIT)
    yield
    patch.undo()


def records(fields):
    return [
        Record(position, position, payload, count, signal, Context(tenant))
        for position, (payload, count, tenant, signal) in enumerate(fields)
    ]


@given(st.lists(FIELDS, max_size=30))
def test_groups_are_the_records_in_order(fields):
    log = records(fields)
    found = list(groups(iter(log)))
    assert [record for group in found for record in group] == log
    assert all(found)
    for group in found:
        assert len({(record.context, record.signal) for record in group}) == 1
        assert len(group) == 1 or sum(len(record.payload) for record in group) <= LIMIT
    for group, following in pairwise(found):  # no group could have been larger
        first = following[0]
        size = sum(len(record.payload) for record in group) + len(first.payload)
        assert size > LIMIT or (first.context, first.signal) != (group[0].context, group[0].signal)


@given(st.lists(FIELDS, min_size=1, max_size=30))
def test_a_merged_batch_is_its_records_joined(fields):
    answers, account = [], Account("traces")
    for group in groups(records(fields)):
        batch = merged(group, Ack(lambda outcome, _: answers.append(outcome)), account)
        assert batch.payload == b"".join(record.payload for record in group)
        assert len(batch) == sum(record.count for record in group)
        assert (batch.context, batch.signal, batch.account) == (group[0].context, group[0].signal, account)
        batch.ack.resolve(Outcome.FILTERED)
        assert answers.pop() is Outcome.FILTERED


def test_a_single_record_is_not_copied():
    payload = b"x" * 10
    (group,) = groups([Record(0, 0, payload, 1)])
    batch = merged(group, Ack.ignore())
    assert batch.payload is payload
