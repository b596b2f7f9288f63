"""Which records are read as one."""

from collector.batch import Context
from collector.component.connector import Record
from collector.graph import merging
from collector.graph.merging import groups

MS = 1_000_000


def positions(*records):
    return [[record.position for record in group] for group in groups(records)]


def record(position, time_ms=0, payload=b"12345", tenant=""):
    return Record(position, time_ms * MS, payload, 1, context=Context(tenant))


def test_small_records_of_one_moment_are_read_together():
    assert positions(*(record(n, n) for n in range(5))) == [[0, 1, 2, 3, 4]]
    assert positions() == []


def test_a_group_ends_at_its_size_and_at_another_context(monkeypatch):
    monkeypatch.setattr(merging, "MERGE_BYTES", 10)
    assert positions(*(record(n) for n in range(5))) == [[0, 1], [2, 3], [4]]
    assert positions(record(0), record(1, tenant="a"), record(2, tenant="a")) == [[0], [1, 2]]
    assert positions(record(0, payload=b"x" * 50), record(1)) == [[0], [1]]


def test_a_group_is_short_in_time_so_that_a_backlog_is_decided_as_it_would_have_been():
    """An hour of a quiet night fits into one group by its size."""
    assert positions(record(0), record(1, 90), record(2, 150), record(3, 3_600_000)) == [[0, 1], [2], [3]]
