"""`Batch`: the telemetry that flows, as the OTLP bytes it arrived in.

A batch is one OTLP `Export*ServiceRequest` in protobuf, a lazy columnar index of it, perhaps a row selection, who sent
it, and the `Ack` that answers for it. It is immutable: nobody edits a payload in place, so fan-out shares it, and
whatever changes a batch returns a new one that carries the same ack. The old one must not be used again.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np

from collector.ack import Ack
from collector.wire import rewrite as wire_rewrite
from collector.wire.logs import scan_logs
from collector.wire.points import scan_metrics
from collector.wire.scan import scan

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from collector.telemetry.item_outcomes import ItemOutcomes
    from collector.telemetry.ledger import Account
    from collector.wire.item_view import ItemView
    from collector.wire.log_view import LogView
    from collector.wire.logs import LogIndex
    from collector.wire.point_view import PointView
    from collector.wire.points import PointIndex
    from collector.wire.scan import SpanIndex
    from collector.wire.view import SpanView


class Signal(Enum):
    """The three kinds of telemetry. The value is the word the YAML uses."""

    TRACES = "traces"
    METRICS = "metrics"
    LOGS = "logs"


@dataclass(frozen=True, slots=True)
class Context:
    """Who sent a batch. Batches merge only when their contexts are equal."""

    tenant: str = ""


ANONYMOUS = Context()

_SCANS: Mapping[Signal, Callable[[bytes], Any]] = {
    Signal.TRACES: scan,
    Signal.METRICS: scan_metrics,
    Signal.LOGS: scan_logs,
}


class Batch:
    """One OTLP request on its way through a pipeline. See the module's page for the rules.

    `payload` is protobuf `Export*ServiceRequest` bytes that `collector.wire` has accepted; `len(batch)` is the number
    of selected items: spans, data points or log records. `account` keeps the ledger: `select` books what it removes.
    Past the end of a pipeline the exporters note in `outcomes` which items they don't deliver.
    """

    __slots__ = ("_bytes", "_count", "_index", "account", "ack", "context", "mask", "outcomes", "payload", "signal")

    def __init__(
        self,
        payload: bytes,
        ack: Ack,
        *,
        signal: Signal = Signal.TRACES,
        context: Context = ANONYMOUS,
        count: int | None = None,
        index: SpanIndex | PointIndex | LogIndex | None = None,
        mask: NDArray[np.bool_] | None = None,
        account: Account | None = None,
        outcomes: ItemOutcomes | None = None,
    ) -> None:
        self.payload = payload
        self.ack = ack
        self.signal = signal
        self.context = context
        self.mask = mask
        self.account = account
        self.outcomes = outcomes
        self._index = index
        self._count = count
        self._bytes: bytes | None = None

    def __len__(self) -> int:
        if self._count is None:
            self._count = self.index.count if self.mask is None else int(np.count_nonzero(self.mask))
        return self._count

    def __repr__(self) -> str:
        return f"<Batch {self.signal.value} items={len(self)} bytes={len(self.payload)}>"

    @property
    def index(self) -> Any:
        """The columns of every item of the payload, selected or not (`mask` tells). Scanned on first use.

        A `SpanIndex`, `PointIndex` or `LogIndex`, by the batch's signal.
        Raises `collector.wire.Malformed` where the payload isn't OTLP, which a receiver has excluded.
        """
        if self._index is None:
            self._index = _SCANS[self.signal](self.payload)
        return self._index

    @property
    def size(self) -> int:
        """Bytes that this batch keeps in memory: its payload's, whatever is selected."""
        return len(self.payload)

    def to_bytes(self) -> bytes:
        """The OTLP request of the selected items: the payload itself when all are."""
        if self.mask is None:
            return self.payload
        if self._bytes is None:
            self._bytes = wire_rewrite.select(self.payload, self.index, self.mask)
        return self._bytes

    def filter(self, keep: Callable[[Any], bool], reason: str = "filtered") -> Batch:
        """The same batch with only the items for which `keep(view)` holds (see `views`); see `select`."""
        mask = np.zeros(self.index.count, np.bool_)
        for view in self.views():
            mask[view.row] = keep(view)
        return self.select(mask, reason)

    def select(self, mask: NDArray[np.bool_] | Sequence[bool], reason: str = "filtered") -> Batch:
        """The same batch with only the rows where `mask` (one bool per row of `index`) holds, and the same ack.

        Rows that an earlier selection removed stay removed. What this one removes is booked as filtered for `reason`.
        """
        kept = self._rows(mask)
        count = int(np.count_nonzero(kept))
        removed = len(self) - count
        if removed == 0:
            return self
        if self.account is not None:
            self.account.filter(removed, reason)
        return self._with(mask=kept, count=count)

    def replace(self, payload: bytes, *, count: int | None = None, reason: str = "filtered") -> Batch:
        """The same batch with another payload and the same ack.

        `count` is the new number of items, counted by a scan when it isn't given. Fewer than before are booked as
        filtered for `reason`, more as accepted.
        """
        batch = Batch(payload, self.ack, signal=self.signal, context=self.context, count=count, account=self.account)
        if self.account is not None:
            change = len(batch) - len(self)
            if change < 0:
                self.account.filter(-change, reason)
            elif change > 0:
                self.account.accept(change)
        return batch

    def rewrite(self, edits: Mapping[int, bytes]) -> Batch:
        """The same batch with the message of each row in `edits` replaced, every other byte as it was.

        The message is a `Span`, a data point of the row's kind, or a `LogRecord`.
        """
        if not edits:
            return self
        payload = wire_rewrite.replace_spans(self.payload, self.index, edits, self.mask)
        return self.replace(payload, count=len(self))

    def split(self, mask: NDArray[np.bool_] | Sequence[bool]) -> tuple[Batch, Batch]:
        """Two batches, the selected rows where `mask` holds and those where it doesn't; the ack is forked over both."""
        yes = self._rows(mask)
        no = ~yes if self.mask is None else self.mask & ~yes
        first, second = self.ack.fork(2)
        count = int(np.count_nonzero(yes))
        return (
            self._with(mask=yes, count=count, ack=first),
            self._with(mask=no, count=len(self) - count, ack=second),
        )

    def fan_out(self, n: int) -> list[Batch]:
        """`n` batches over the same payload, the ack forked over all of them. Their ledger is the caller's affair."""
        return [self._with(ack=ack) for ack in self.ack.fork(n)]

    def with_ack(self, ack: Ack, outcomes: ItemOutcomes | None = None) -> Batch:
        """The same batch, answered for by `ack`, and its items in `outcomes` where that is given."""
        return self._with(ack=ack, outcomes=outcomes or self.outcomes)

    def compact(self) -> Batch:
        """The same batch in memory of its own size: the selected items are the whole payload, in the same order."""
        if self.mask is None:
            return self
        return Batch(
            self.to_bytes(),
            self.ack,
            signal=self.signal,
            context=self.context,
            count=len(self),
            account=self.account,
            outcomes=self.outcomes,
        )

    def spans(self) -> list[SpanView]:
        """Lazy views of the selected spans, in order, for processors that think in spans (see `collector.wire.view`).

        Change them, then return `batch.apply(views)`. Raises `ValueError` where the batch is of another signal.
        """
        from collector.wire.view import views  # noqa: PLC0415 - only custom processors pay for it

        self._demand(Signal.TRACES)
        return views(self.payload, self.index, self.mask)

    def points(self) -> list[PointView]:
        """As `spans`, of the selected data points (see `collector.wire.point_view`)."""
        from collector.wire.point_view import point_views  # noqa: PLC0415 - as above

        self._demand(Signal.METRICS)
        return point_views(self.payload, self.index, self.mask)

    def records(self) -> list[LogView]:
        """As `spans`, of the selected log records (see `collector.wire.log_view`)."""
        from collector.wire.log_view import log_views  # noqa: PLC0415 - as above

        self._demand(Signal.LOGS)
        return log_views(self.payload, self.index, self.mask)

    def views(self) -> Sequence[SpanView] | Sequence[PointView] | Sequence[LogView]:
        """`spans()`, `points()` or `records()`, by the batch's signal."""
        if self.signal is Signal.TRACES:
            return self.spans()
        return self.points() if self.signal is Signal.METRICS else self.records()

    def apply(self, views: Sequence[ItemView]) -> Batch:
        """The batch with the changes made to `views` (of this batch): only items that were touched are rewritten."""
        edits = {view.row: view.to_bytes() for view in views if view.changed}
        return self.rewrite(edits)

    @staticmethod
    def merge(batches: Sequence[Batch]) -> Batch:
        """One batch of all of `batches`, which share signal, context and account; its ack answers for each.

        Concatenated `Export*ServiceRequest` messages parse as one, so this is a join of bytes.
        """
        if len(batches) == 1:
            return batches[0]
        first = batches[0]
        return Batch(
            b"".join([batch.to_bytes() for batch in batches]),
            Ack.join([batch.ack for batch in batches]),
            signal=first.signal,
            context=first.context,
            count=sum(len(batch) for batch in batches),
            account=first.account,
        )

    def _demand(self, signal: Signal) -> None:
        if self.signal is not signal:
            raise ValueError(f"a batch of {self.signal.value} has no views of {signal.value}")

    def _rows(self, mask: NDArray[np.bool_] | Sequence[bool]) -> NDArray[np.bool_]:
        """The selected rows where `mask` holds. Raises `ValueError` when it isn't one bool per row of `index`."""
        rows = np.asarray(mask, np.bool_)
        if rows.shape != (self.index.count,):
            raise ValueError("a mask has one bool per row of the batch's index")
        return rows if self.mask is None else self.mask & rows

    def _with(self, **changes: Any) -> Batch:
        count = changes.get("count", self._count)
        return Batch(
            self.payload,
            changes.get("ack", self.ack),
            signal=self.signal,
            context=self.context,
            count=count,
            index=self._index,
            mask=changes.get("mask", self.mask),
            account=self.account,
            outcomes=changes.get("outcomes", self.outcomes),
        )
