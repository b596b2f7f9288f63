"""Consecutive records of a log as one batch: what a stage costs per call is paid once for many small requests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from collector.batch import Batch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from collector.ack import Ack
    from collector.component.connector import Record
    from collector.telemetry.ledger import Account

MERGE_BYTES = 1 << 20
MERGE_NS = 100_000_000
"""Records that are further apart in stream time stay apart: a tick between them may decide a trace."""


def groups(records: Iterable[Record]) -> Iterator[list[Record]]:
    """Runs of `records` of one signal and one context, up to `MERGE_BYTES` of payload and `MERGE_NS` of time each."""
    group: list[Record] = []
    size = 0
    for record in records:
        if group and (
            size + len(record.payload) > MERGE_BYTES
            or record.time_ns - group[0].time_ns > MERGE_NS
            or record.signal is not group[0].signal
            or record.context != group[0].context
        ):
            yield group
            group, size = [], 0
        group.append(record)
        size += len(record.payload)
    if group:
        yield group


def merged(group: Sequence[Record], ack: Ack, account: Account | None = None) -> Batch:
    """One batch of a group: concatenated `Export*ServiceRequest` messages parse as one."""
    return Batch(
        group[0].payload if len(group) == 1 else b"".join([record.payload for record in group]),
        ack,
        signal=group[0].signal,
        context=group[0].context,
        count=sum(record.count for record in group),
        account=account,
    )
