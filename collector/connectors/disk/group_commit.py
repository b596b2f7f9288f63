"""Group commit: appends wait for company, a thread writes them in one transaction, their acks are resolved together."""

from __future__ import annotations

import asyncio
import contextlib
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from collector.ack import Outcome
from collector.component.connector import Record
from collector.connectors.disk.segments import Draft, WriteError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from logging import Logger

    from collector.batch import Batch, Context, Signal
    from collector.connectors.disk.options import DiskOptions
    from collector.connectors.disk.segments import Segment, SegmentWriter

_RETRY_AFTER = 1.0
"""Seconds without an attempt after a failed write."""


class GroupCommit:
    """What waits to be written. All methods are the loop's; one thread of its own writes.

    `stamp()` gives the position and stream time of the next record; `written(records, opened)` is told of each success
    before the acks are resolved; `refused(reason)` and `took(seconds)` count.
    """

    def __init__(
        self,
        writer: SegmentWriter,
        config: DiskOptions,
        *,
        stamp: Callable[[], tuple[int, int]],
        written: Callable[[Sequence[Record], Sequence[Segment]], None],
        refused: Callable[[str], None],
        took: Callable[[float], None],
        log: Logger,
    ) -> None:
        self._writer = writer
        self._config = config
        self._max_pending = min(config.max_pending, config.max_size // 4)
        self._stamp = stamp
        self._on_written = written
        self._on_refused = refused
        self._took = took
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._pool = ThreadPoolExecutor(1, "disk-write")
        self._pending: list[tuple[Batch, bytes]] = []
        self._pending_bytes = 0
        self._writing_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._failure: str | None = None
        self._retry_at = 0.0
        self._closing = False
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def waiting_bytes(self) -> int:
        """Bytes that were taken and aren't written yet."""
        return self._pending_bytes + self._writing_bytes

    def obstacle(self) -> str | None:
        """Why an append would be refused, whatever its size: `log_closed`, `disk_full`, `disk_error`."""
        if self._closing:
            return "log_closed"
        return self._failure if self._loop.time() < self._retry_at else None

    def append(self, batch: Batch, payload: bytes) -> None:
        """Take one batch, or answer RETRY."""
        reason = self.obstacle()
        if reason is None and self.waiting_bytes and self.waiting_bytes + len(payload) > self._max_pending:
            reason = "log_busy"
        if reason is not None:
            self.refuse(batch, reason)
            return
        self._pending.append((batch, payload))
        self._pending_bytes += len(payload)
        self._idle.clear()
        self._schedule()

    def refuse(self, batch: Batch, reason: str) -> None:
        """Answer RETRY, and count it."""
        self._on_refused(reason)
        batch.ack.resolve(Outcome.RETRY, reason)

    async def close(self) -> None:
        """Write what waits, take nothing more."""
        self._closing = True
        if self._timer is not None:
            self._timer.cancel()
            self._flush()
        await self._idle.wait()
        self._pool.shutdown()

    def _schedule(self) -> None:
        """Have what is pending written: at once when there is much of it, otherwise when it has waited for company."""
        if self._writing_bytes:
            return
        if self._pending_bytes >= self._config.max_record_size or self._closing:
            if self._timer is not None:
                self._timer.cancel()
            self._flush()
        elif self._timer is None:
            self._timer = self._loop.call_later(self._config.commit_interval / 1e9, self._flush)

    def _flush(self) -> None:
        self._timer = None
        pending, self._pending = self._pending, []
        # An empty payload is written too, so that one counts as a byte.
        self._writing_bytes, self._pending_bytes = max(self._pending_bytes, 1), 0
        position, time_ns = self._stamp()
        drafts = self._merge(pending)
        self._pool.submit(self._write, position, time_ns, drafts, [batch for batch, _ in pending])

    def _merge(self, pending: Sequence[tuple[Batch, bytes]]) -> list[Draft]:
        """Records to be: payloads of equal signal and context together, each of these in order of arrival."""
        drafts: list[Draft] = []
        filling: dict[tuple[Signal, Context], Draft] = {}
        for batch, payload in pending:
            key = (batch.signal, batch.context)
            draft = filling.get(key)
            if draft is None or draft.size + len(payload) > self._config.max_record_size:
                draft = filling[key] = Draft(*key)
                drafts.append(draft)
            draft.add(payload, len(batch))
        return drafts

    def _write(self, position: int, time_ns: int, drafts: list[Draft], batches: list[Batch]) -> None:
        """In the thread."""
        started = time.monotonic()
        records: list[Record] = []
        opened: list[Segment] = []
        reason = None
        try:
            payloads, opened = self._writer.write(position, time_ns, drafts)
            records = [
                Record(number, time_ns, payload, draft.count, draft.signal, draft.context)
                for number, (draft, payload) in enumerate(zip(drafts, payloads, strict=True), start=position)
            ]
        except WriteError as error:
            reason = error.reason
        except Exception:  # noqa: BLE001 - whatever it was, the senders must be answered
            self._log.error("the log's writer failed unexpectedly")
            reason = "disk_error"
        with contextlib.suppress(RuntimeError):  # the loop was closed under us: nobody waits for an answer
            self._loop.call_soon_threadsafe(self._done, records, opened, batches, reason, time.monotonic() - started)

    def _done(
        self,
        records: list[Record],
        opened: list[Segment],
        batches: list[Batch],
        reason: str | None,
        seconds: float,
    ) -> None:
        self._writing_bytes = 0
        self._took(seconds)
        if reason is None:
            if self._failure is not None:
                self._log.warning("the log can be written again")
            self._failure = None
            self._on_written(records, opened)
            for batch in batches:
                batch.ack.resolve(Outcome.DELIVERED)
        else:
            if self._failure != reason:
                self._log.error("the log can't be written (%s): senders are told to come again", reason)
            self._failure = reason
            self._retry_at = self._loop.time() + _RETRY_AFTER
            for batch in batches:
                self.refuse(batch, reason)
        if self._pending:
            self._schedule()
        else:
            self._idle.set()
