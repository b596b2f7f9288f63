"""Appending: requests wait for company, are regrouped by partition on wire bytes, and become one record a partition."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING

from collector.ack import Outcome
from collector.batch import Signal
from collector.connectors.kafka.producer import NotSentError
from collector.connectors.kafka.records import headers
from collector.wire import Malformed, partition_logs, partition_metrics, partition_spans

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from logging import Logger

    from aiokafka.structs import RecordMetadata

    from collector.batch import Batch, Context
    from collector.connectors.kafka.options import KafkaOptions
    from collector.connectors.kafka.producer import Producer

FLUSH_BYTES = 4 << 20
"""What waits is sent without waiting longer when it is this much."""
MAX_FLUSHES = 4
"""Flushes at the same time: while they are under way, more gathers, and records become larger instead of more."""

STOP_WITHIN_S = 4.0
"""Less than `timeout` by default: a stop has nine seconds in all."""

_SPLITTERS = {
    Signal.TRACES: partition_spans,
    Signal.METRICS: partition_metrics,
    Signal.LOGS: partition_logs,
}

Group = tuple[Signal, "Context"]
Record = tuple[int, None, bytes]


class Appends:
    """What waits to be written. `written(topic, metadata)` is told of each success before the acks are resolved.

    `obstacle()` says why nothing may be written now; `refused(reason)` and `took(seconds)` count.
    """

    def __init__(
        self,
        config: KafkaOptions,
        producer: Producer,
        *,
        obstacle: Callable[[], str | None],
        written: Callable[[str, Sequence[RecordMetadata]], None],
        refused: Callable[[str], None],
        took: Callable[[float], None],
        log: Logger,
    ) -> None:
        self._producer = producer
        self._obstacle = obstacle
        self._written = written
        self._on_refused = refused
        self._took = took
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._partitions = config.partitions
        self._topic = config.topic
        self._linger_s = config.producer.linger / 1e9
        self._record_bytes = config.producer.max_message_bytes
        self._max_pending = config.producer.max_pending
        self._pending: list[tuple[Batch, bytes]] = []
        self._pending_bytes = 0
        self._pending_since = 0.0
        self._flushing_bytes = 0
        self._flushes: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._closing = False
        self._told_of_size = False

    def append(self, batch: Batch) -> None:
        """Take one batch, or answer RETRY."""
        reason = "log_closed" if self._closing else self._obstacle()
        if reason is not None:
            self._refuse(batch, reason)
            return
        payload = batch.to_bytes()
        waiting = self._pending_bytes + self._flushing_bytes
        if waiting and waiting + len(payload) > self._max_pending:
            self._refuse(batch, "log_busy")
            return
        if not self._pending:
            self._pending_since = self._loop.time()
        self._pending.append((batch, payload))
        self._pending_bytes += max(1, len(payload))
        self._schedule()

    async def close(self) -> None:
        """Write what waits, take nothing more. What is not acknowledged in time is given back."""
        self._closing = True
        if self._pending:
            self._flush()
        deadline = self._loop.time() + STOP_WITHIN_S
        while self._flushes:
            _, late = await asyncio.wait(self._flushes, timeout=max(0.0, deadline - self._loop.time()))
            for flush in late:
                flush.cancel()

    def _schedule(self) -> None:
        if not self._pending:
            return
        if self._pending_bytes >= FLUSH_BYTES and len(self._flushes) < MAX_FLUSHES:
            self._flush()
        elif self._timer is None and not self._flushes:
            self._timer = self._loop.call_later(self._linger_s, self._flush)

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        pending, self._pending = self._pending, []
        size, self._pending_bytes = self._pending_bytes, 0
        reason = self._obstacle()
        if reason is not None:
            # It waited behind a write that failed: its senders have waited long enough to be told.
            for batch, _ in pending:
                self._refuse(batch, reason)
            return
        self._flushing_bytes += size
        task = self._loop.create_task(self._send(pending, self._pending_since))
        self._flushes.add(task)
        task.add_done_callback(lambda task: self._flushed(task, size))

    def _flushed(self, task: asyncio.Task[None], size: int) -> None:
        self._flushes.discard(task)
        self._flushing_bytes -= size
        if self._closing and self._pending:
            self._flush()
        else:
            self._schedule()

    async def _send(self, pending: Sequence[tuple[Batch, bytes]], since: float) -> None:
        groups: dict[Group, list[tuple[Batch, bytes]]] = {}
        for batch, payload in pending:
            groups.setdefault((batch.signal, batch.context), []).append((batch, payload))
        await asyncio.gather(*(self._send_group(*group, members, since) for group, members in groups.items()))

    async def _send_group(
        self, signal: Signal, context: Context, members: list[tuple[Batch, bytes]], since: float
    ) -> None:
        started = monotonic()
        topic = self._topic(signal)
        reason = None
        oversize: dict[Batch, int] = {}
        try:
            records, members = self._split(signal, members)
            records, oversize = self._fitting(signal, records, members)
            if records:
                written = await self._producer.send(topic, records, headers(signal, context), since)
                self._took(monotonic() - started)
                self._written(topic, written)
        except NotSentError as error:
            reason = error.reason
        except asyncio.CancelledError:
            reason = "stopped"
        except Exception:  # noqa: BLE001 - whatever it was, the senders must be answered
            self._log.error("the writer to Kafka failed unexpectedly")
            reason = "kafka_error"
        for batch, _ in members:
            if reason is not None:
                self._refuse(batch, reason)
            elif batch in oversize:
                self._on_refused("too_large")
                batch.ack.resolve(Outcome.REJECTED, "too_large", oversize[batch])
            else:
                batch.ack.resolve(Outcome.DELIVERED)

    def _fitting(
        self, signal: Signal, records: list[Record], members: Sequence[tuple[Batch, bytes]]
    ) -> tuple[list[Record], dict[Batch, int]]:
        """The records that a topic takes, and the batches with a span, metric or log record too large for any, with the
        number of the items in these.

        Coming again wouldn't get such a one in, so its sender is refused for good; what came with it is written.
        """
        fitting = [record for record in records if len(record[2]) <= self._record_bytes]
        if len(fitting) == len(records):
            return records, {}
        if not self._told_of_size:
            self._told_of_size = True
            self._log.error("something larger than producer.max_message_bytes came; all such is refused for good")
        oversize = {}
        for batch, payload in members:
            parts = _SPLITTERS[signal](payload, self._partitions, self._record_bytes)
            if items := sum(items for _, part, items in parts if len(part) > self._record_bytes):
                oversize[batch] = items
        return fitting, oversize

    def _split(
        self, signal: Signal, members: list[tuple[Batch, bytes]]
    ) -> tuple[list[Record], list[tuple[Batch, bytes]]]:
        """Records of `members`, and those of them that are in; one that can't be read harms no other."""
        split = _SPLITTERS[signal]
        try:
            parts = split(b"".join([payload for _, payload in members]), self._partitions, self._record_bytes)
        except Malformed:
            if len(members) == 1:
                self._log.error("a batch that isn't OTLP came to the connector; it is refused for good")
                members[0][0].ack.resolve(Outcome.REJECTED, "malformed")
                return [], []
            records, readable = [], []
            for member in members:
                part, kept = self._split(signal, [member])
                records += part
                readable += kept
            return records, readable
        return [(partition, None, payload) for partition, payload, _ in parts], members

    def _refuse(self, batch: Batch, reason: str) -> None:
        self._on_refused(reason)
        batch.ack.resolve(Outcome.RETRY, reason)
