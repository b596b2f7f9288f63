"""Rate, errors, duration of the generated spans, exactly: what metrics made of spans must come to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bench.generator.catalogue import SPANS
from bench.generator.serialise import resource_of
from bench.generator.traces import ERROR
from bench.generator.traffic import SPAN_NAMES
from bench.ledger import Outcome, SenderLedger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.generator.traffic import Traffic

UNSET, FAILED = 0, 2
"""Status codes of OTLP that the spans have."""


@dataclass(frozen=True, slots=True)
class RedKey:
    """`kind` and `status` are OTLP's numbers. `node` is empty unless it was asked for."""

    service: str
    name: str
    kind: int
    status: int
    node: str = ""


@dataclass(frozen=True, slots=True)
class Red:
    """Spans, their durations added up (ns), and how many of them lie in each bucket: upper bounds are inclusive, the
    last bucket has none."""

    count: int
    nanoseconds: int
    buckets: tuple[int, ...]


def red(
    ledger: SenderLedger,
    traffic: Traffic,
    *,
    bounds: Sequence[float] = (),
    outcome: Outcome = Outcome.ACKED,
    by_node: bool = False,
) -> dict[RedKey, Red]:
    """Of the spans in all requests with that outcome. `bounds`: of the duration histogram, in seconds."""
    times = np.zeros(traffic.spans, np.int64)
    for (_, request), (found, _) in ledger.outcomes.items():
        if found is outcome:
            times[traffic.requests[request].rows.astype(np.intp)] += 1
    durations = traffic.end - traffic.start
    bucket = np.searchsorted(np.asarray(bounds, np.float64), durations / 1e9)
    status = np.where(traffic.flags & ERROR, FAILED, UNSET)
    table = np.stack([traffic.node.astype(np.int64), traffic.name.astype(np.int64), status], axis=1)
    kinds, row = np.unique(table, axis=0, return_inverse=True)
    groups: dict[RedKey, list[int]] = {}
    for number, (node, name, code) in enumerate(kinds.tolist()):
        resource = resource_of(traffic.shape.seed, node)
        label = SPAN_NAMES[name]
        where = str(resource["butterfly.node.id"]) if by_node else ""
        key = RedKey(str(resource["service.name"]), label, SPANS[label].kind, code, where)
        groups.setdefault(key, []).append(number)
    result = {}
    for key, members in groups.items():
        chosen = np.isin(row.ravel(), members)
        count = int(times[chosen].sum())
        if count:
            buckets = np.bincount(bucket[chosen], times[chosen], len(bounds) + 1)
            total = sum(int(n) * int(took) for n, took in zip(times[chosen], durations[chosen], strict=True))
            result[key] = Red(count, total, tuple(int(each) for each in buckets))
    return result
