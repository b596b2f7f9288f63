"""`cardinality_limiter`: no more active series than the configuration allows, and sums that stay right."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakSet
from zlib import crc32

from collector.api import Signal, Stateful
from processors.cardinality_limiter import checks
from processors.cardinality_limiter.distinct import distinct
from processors.cardinality_limiter.limiter import Limiter
from processors.cardinality_limiter.options import CardinalityLimiterOptions
from processors.cardinality_limiter.rules import ACTIONS, Rules

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from collector.api import Batch, BuildContext, Meter

DROPPED = "cardinality_dropped"
"""Why a point is removed that is in no other,"""
MERGED = "cardinality_merged"
"""and why one that is."""
_SHOWN = 100
_HEADER = struct.Struct("<4sI")
_MAGIC = b"BCLS"

_living: WeakKeyDictionary[Meter, dict[str, WeakSet[CardinalityLimiter]]] = WeakKeyDictionary()
"""One partition has one limiter, and the gauges are sums over the partitions that are this process's now."""


class CardinalityLimiter(Stateful):
    """Looks each point's series up in a table of those that are active; see docs/components/cardinality_limiter.md."""

    Config = CardinalityLimiterOptions
    signals = frozenset({Signal.METRICS})

    def __init__(self, config: CardinalityLimiterOptions, context: BuildContext) -> None:
        super().__init__(config, context)
        self._rules = Rules(config)
        self._limiter = self._new_limiter()
        self._seen = False
        self._now_ns: int | None = None
        meter = context.meter
        self._refused = meter.counter("butterfly_cardinality_refused_points_total")
        by_id = _living.setdefault(meter, {})
        if self.id not in by_id:
            by_id[self.id] = WeakSet()
            for metric, name in (
                ("butterfly_cardinality_series", "active"),
                ("butterfly_cardinality_metrics", "metrics"),
                ("butterfly_cardinality_folded_series", "folded"),
                ("butterfly_cardinality_aggregated_series", "aggregated"),
                ("butterfly_cardinality_table_bytes", "memory"),
            ):
                meter.watch(metric, _sum(by_id[self.id], name), processor=self.id)
        by_id[self.id].add(self)

    @classmethod
    def problems(cls, config: CardinalityLimiterOptions) -> list[tuple[tuple[str | int, ...], str]]:
        """See `Component`."""
        return checks.problems(config)

    @classmethod
    def warnings(cls, config: CardinalityLimiterOptions) -> list[tuple[tuple[str | int, ...], str]]:
        """See `Component`."""
        return checks.warnings(config)

    @property
    def limiter(self) -> Limiter:
        """The compiled part."""
        return self._limiter

    def process(self, batch: Batch) -> Iterable[Batch]:
        """The batch itself where all of its series are within the limits, else one with a new payload."""
        self._seen = True
        limiter, items = self._limiter, len(batch)
        payload = limiter.limit_request(batch.to_bytes(), batch.context.tenant.encode())
        if limiter.removed:
            for (limit, action), count in limiter.take_counts().items():
                self._refused.labels(self.id, limit, action).inc(count)
        if payload is None:
            return (batch,)
        kept = items - limiter.dropped
        batch = batch.replace(payload, count=kept, reason=DROPPED)
        return (batch.replace(payload, count=kept - (limiter.removed - limiter.dropped) + limiter.sent, reason=MERGED),)

    def tick(self, now_ns: int) -> Iterable[Batch]:
        """Time passes while there is something to limit: a pipeline that stands still forgets nothing."""
        if self._now_ns is None:
            self._now_ns = now_ns
        elif self._seen:
            self._seen = False
            self._limiter.pass_time(now_ns - self._now_ns)
            self._now_ns = now_ns
        return ()

    # -- over a restart

    def snapshot(self) -> list[bytes]:
        """See `Stateful`."""
        pieces = self._limiter.state_pieces()
        checksum = 0
        for piece in pieces:
            checksum = crc32(piece, checksum)
        return [_HEADER.pack(_MAGIC, checksum), *pieces]

    def restore(self, blob: bytes) -> None:
        """See `Stateful`. What was admitted stays admitted, also under limits that are lower now."""
        magic, checksum = _HEADER.unpack_from(blob) if len(blob) >= _HEADER.size else (b"", 0)
        state = blob[_HEADER.size :]
        if magic != _MAGIC or crc32(state) != checksum:
            raise ValueError("it is damaged, or not of cardinality_limiter")
        limiter = self._new_limiter()
        limiter.load_state(state)
        self._limiter = limiter

    def _new_limiter(self) -> Limiter:
        config = self.config
        return Limiter(
            self._rules,
            window_ns=config.window,
            max_series=config.max_series,
            max_metrics=config.max_metrics,
            max_aggregates=config.max_aggregated_series,
            max_state=config.max_state_size,
            max_exemplars=config.max_exemplars,
            max_offenders=config.max_offenders,
        )

    # -- for people

    def report(self) -> dict[str, Any]:
        """See `Component`. Names of metrics and labels, never a label's value."""
        limiter, config = self._limiter, self.config
        rows = sorted(limiter.offenders.rows(), key=lambda row: -row[3])
        series = {metric: distinct(registers) for metric, label, _, _, registers in rows if not label}
        offenders: list[dict[str, Any]] = [
            {
                "metric": _text(metric),
                "label": _text(label),
                "distinct_values": distinct(registers),
                "refused_series": series.get(metric),
                "refused_points": points,
                "action": ACTIONS[action],
            }
            for metric, label, action, points, registers in rows
            if label
        ]
        largest = sorted(limiter.metric_rows(), key=lambda row: (-row[1], row[0]))[:_SHOWN]
        return {
            "series": limiter.active,
            "max_series": config.max_series,
            "metrics": limiter.metrics,
            "max_metrics": config.max_metrics,
            "folded_series": limiter.folded,
            "aggregated_series": limiter.aggregated,
            "max_aggregated_series": config.max_aggregated_series,
            "state_bytes": limiter.state_bytes,
            "max_state_size": config.max_state_size,
            "table_bytes": limiter.memory,
            "refused": [
                {"metric": _text(metric), "refused_series": count} for metric, count in list(series.items())[:_SHOWN]
            ],
            "offenders": sorted(offenders, key=lambda row: -row["distinct_values"])[:_SHOWN],
            "largest": [
                {"metric": _text(name), "series": active, "reduced": reduced, "limit": limit, "refused_points": refused}
                for name, active, reduced, _, limit, refused in largest
            ],
        }


def _text(name: bytes) -> str:
    return name.decode("utf-8", "replace")


def _sum(members: WeakSet[CardinalityLimiter], name: str) -> Callable[[], float]:
    return lambda: float(sum(getattr(member.limiter, name) for member in members))
