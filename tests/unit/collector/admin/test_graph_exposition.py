"""The state of the graph as metrics: positions and bytes as they are at the scrape."""

from types import SimpleNamespace

from collector.admin.graph_exposition import GraphExposition
from collector.telemetry.catalogue import CATALOGUE


def runner(head, tail, committed, lag):
    return SimpleNamespace(
        account=SimpleNamespace(pipeline="traces/a"),
        partition=SimpleNamespace(name="0", end=11),
        head=None if head is None else SimpleNamespace(position=head),
        tail=SimpleNamespace(position=tail, watermark=SimpleNamespace(position=committed)),
        lag_seconds=lambda: lag,
    )


def test_positions_of_every_partition():
    graph = SimpleNamespace(
        runners=lambda: [("disk", runner(9, 5, 3, 1.5)), ("disk/b", runner(None, 4, 4, 0.0))],
        parts=SimpleNamespace(admission=SimpleNamespace(inflight=77)),
    )
    families = {family.name: family for family in GraphExposition(graph).collect()}
    values = {
        name: {tuple(sample.labels.values()): sample.value for sample in family.samples}
        for name, family in families.items()
    }
    one, two = ("disk", "0", "traces/a"), ("disk/b", "0", "traces/a")
    assert values == {
        "butterfly_log_end": {one: 11, two: 11},
        "butterfly_log_head": {one: 9, two: 4},  # without a lookahead processor the tail is all there is
        "butterfly_log_tail": {one: 5, two: 4},
        "butterfly_log_committed": {one: 3, two: 4},
        "butterfly_log_lag_seconds": {one: 1.5, two: 0.0},
        "butterfly_inflight_bytes": {(): 77},
    }
    for name, family in families.items():
        assert family.documentation == CATALOGUE[name].about
        assert all(tuple(sample.labels) == CATALOGUE[name].labels for sample in family.samples)
