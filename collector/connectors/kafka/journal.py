"""The decision journal of one partition: verdicts in the partition of the same number of a compacted topic.

It must have one writer, and Kafka's group protocol doesn't see to that: a member that was suspended for a while may
believe for some more time that it owns a partition, and would write verdicts that contradict its successor's, and act
on them. So each owner begins with a record of its own, its **epoch**, whose number is that record's offset. As long as
an owner is alone, each of its records lands right behind the one before. One that doesn't has company in between: where
that is the epoch of another, this owner has lost the partition and nothing it wrote after that epoch counts, for itself
(`OwnershipLostError`, before any effect) and for every reader (a verdict of an epoch that isn't the newest before it is
void). Nothing is needed for this but that a partition is an ordered log; `tests/property` has it as a model.

Keys make compaction forget: a verdict that is needed no longer gives its key to a new one. Each record says from which
offset on there are verdicts that are needed, so that a reader need not begin at the beginning. Names of the headers:
`epoch`, `head`, `count` and `from`, decimal.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from collector.errors import OwnershipLostError, StorageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from collector.connectors.kafka.records import Headers

EPOCH_KEY = b"epoch"
LAST_FEW = 64
"""Offsets before an epoch where the last verdict is looked for, which says from where on verdicts are needed."""


class JournalRecord(Protocol):
    """What a reader gives: aiokafka's `ConsumerRecord`."""

    @property
    def offset(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]: ...


class JournalLog(Protocol):
    """One partition of the decisions topic."""

    async def append(self, key: bytes, value: bytes, headers: Headers) -> int:
        """Durably; returns the offset, or -1 where only that it is in is known. Raises `StorageError`."""

    async def begin(self) -> int:
        """The first offset that there may be. Raises `StorageError`."""

    async def read(self, start: int, stop: int) -> Sequence[JournalRecord]:
        """Every record from `start` to before `stop`, in order. Raises `StorageError`."""


@dataclass(frozen=True, slots=True)
class _Entry:
    key: bytes
    offset: int
    count: int
    head: int


class DecisionJournal:
    """The journal of one owner of a partition. `await open()` first; `append` calls must not overlap."""

    def __init__(self, log: JournalLog) -> None:
        self._log = log
        self._epoch = -1
        self._next = 0
        self._entries: deque[_Entry] = deque()
        self._spare: deque[bytes] = deque()
        self._keys = 0
        self._count = 0
        self._lost = False

    async def open(self) -> None:
        """Begin an epoch: from here on, whoever wrote before writes in vain. Raises `StorageError`."""
        offset = await self._log.append(EPOCH_KEY, b"", [])
        if offset < 0:
            raise StorageError("the decision journal's end isn't known")
        self._epoch = offset
        self._next = offset + 1

    async def load(self) -> list[bytes]:
        """Every blob that counts, oldest first. Raises `StorageError`."""
        start = begin = await self._log.begin()
        for record in await self._log.read(max(begin, self._epoch - LAST_FEW), self._epoch):
            start = max(begin, _number(record.headers, "from", start))
        blobs: dict[bytes, tuple[_Entry, bytes]] = {}
        newest = -1
        for record in await self._log.read(start, self._next):
            if record.key == EPOCH_KEY:
                newest = max(newest, record.offset)
                continue
            epoch = _number(record.headers, "epoch", -1)
            if epoch < newest or record.key is None or not record.value:
                continue
            newest = epoch
            count, head = _number(record.headers, "count", 0), _number(record.headers, "head", 0)
            blobs.pop(record.key, None)
            blobs[record.key] = _Entry(record.key, record.offset, count, head), record.value
        self._entries = deque(entry for entry, _ in blobs.values())
        self._count = sum(entry.count for entry in self._entries)
        self._spare.clear()
        self._keys = max((int(key) + 1 for key in blobs if key.isdigit()), default=0)
        return [blob for _, blob in blobs.values()]

    async def append(self, blob: bytes, count: int, head: int, keep: int, committed: int) -> None:
        """As `Partition.journal`. Raises `OwnershipLostError`, `StorageError`."""
        if self._lost:
            raise OwnershipLostError("another process writes this partition's decisions")
        self._forget(keep, committed)
        if not self._spare:
            self._spare.append(b"%d" % self._keys)
            self._keys += 1
        first = self._entries[0].offset if self._entries else self._next
        numbers = {"epoch": self._epoch, "head": head, "count": count, "from": first}
        # The key stays a spare one when this fails: then the record may be there, and is written again under the same.
        key = self._spare[0]
        offset = await self._log.append(key, blob, [(name, b"%d" % value) for name, value in numbers.items()])
        await self._check_alone(offset)
        self._spare.popleft()
        self._entries.append(_Entry(key, offset, count, head))
        self._count += count

    def _forget(self, keep: int, committed: int) -> None:
        while self._entries and self._entries[0].head <= committed and self._count - self._entries[0].count >= keep:
            entry = self._entries.popleft()
            self._count -= entry.count
            self._spare.append(entry.key)

    async def _check_alone(self, offset: int) -> None:
        if offset < 0:
            raise StorageError("where the verdicts landed isn't known")
        if offset != self._next and has_epoch(await self._log.read(self._next, offset)):
            self._lost = True
            raise OwnershipLostError("another process writes this partition's decisions")
        self._next = offset + 1


def has_epoch(records: Iterable[JournalRecord]) -> bool:
    """Whether another owner began among `records`."""
    return any(record.key == EPOCH_KEY for record in records)


def _number(headers: Sequence[tuple[str, bytes | None]], name: str, otherwise: int) -> int:
    for found, value in headers:
        if found == name and value is not None and value.isdigit():
            return int(value)
    return otherwise
