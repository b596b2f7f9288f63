"""Which series there are: those that spans feed, and as many others as are asked for, node by node."""

from __future__ import annotations

from itertools import count, islice, product
from typing import TYPE_CHECKING

from bench.generator.metric_catalogue import DOMAINS, METRICS, FromSpans
from bench.generator.metric_points import Point

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from random import Random

    from bench.generator.measurements import Series
    from bench.generator.metric_shape import MetricShape


def choose(measured: Sequence[Series], senders: int, shape: MetricShape, random: Random) -> list[list[Point]]:
    """The points of each request of a round, in sending order.

    Nodes that send traces have all that their spans feed. The rest, up to `shape.series`, is what every node has
    besides: of the senders first, then of further nodes, whose metrics come over a sender's connection.
    """
    by_node: dict[int, list[Point]] = {node: [] for node in range(senders)}
    for series in measured:
        by_node[series.node].append(Point(series.node, series.metric, series.attributes, series))
    wanted = max(0, shape.series - len(measured))
    for point in islice(_others(random), wanted):
        by_node.setdefault(point.node, []).append(point)
    chunks = [
        (begin // shape.batch, node, points[begin : begin + shape.batch])
        for node, points in by_node.items()
        for begin in range(0, len(points), shape.batch)
    ]
    chunks.sort(key=lambda each: each[:2])
    return [points for _, _, points in chunks]


def _others(random: Random) -> Iterator[Point]:
    """What no span feeds, of one node after another, without an end."""
    for node in count():
        for metric in METRICS.values():
            if not isinstance(metric.source, FromSpans):
                for values in product(*(DOMAINS[key] for key in metric.attributes)):
                    pairs = tuple(zip(metric.attributes, values, strict=True))
                    yield Point(node, metric, pairs, key=random.getrandbits(64))
