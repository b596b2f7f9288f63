"""The decision journal of one partition: verdicts in the partition of the same number of a compacted topic.

It must have one writer, and Kafka's group protocol doesn't see to that: a member that was suspended for a while may
believe for some more time that it owns a partition, and would write verdicts that contradict its successor's, and act
on them. So each owner begins with a record of its own, its **epoch**, whose number is that record's offset. As long as
an owner is alone, each of its records lands right behind the one before. It says in each where it expects it to land:

- A verdict counts, for its owner and for every reader, only where it landed just there. What an owner writes after
  another's epoch can't, so it is void for everybody, whatever compaction has removed since.
- An owner whose record landed further on looks at what is in between. If that is another's epoch, the partition is
  lost (`OwnershipLostError`, before any effect). If not, it was a record of its own whose append had seemed to fail, or
  a void one of a predecessor: it writes the verdicts once more. Compaction can hide an epoch only behind a newer one,
  behind which that record can't land where it is expected.

Compaction forgets all but the newest record of a key, so no owner ever writes under a key that something late of
another's, or of its own, could still be written under: that would take a needed verdict away, void or not. A key is an
epoch and a number; its owner gives it to a new verdict when the old one is no longer needed and every append under it
was answered. Any other key that is no longer needed is **buried**: a record without a value lets compaction remove it.

Nothing is needed for this but that a partition is an ordered log; `tests/property` has it as a model. Each record says
from which offset on there are verdicts that are needed or keys to be buried, so that a reader need not begin at the
beginning. Names of the headers: `epoch`, `at`, `head`, `count` and `from`, decimal.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from collector.errors import OwnershipLostError, StorageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from collector.connectors.kafka.records import Headers

EPOCH_KEY = b"epoch"
LAST_FEW = 64
"""Offsets before an epoch, or the end, where the last verdict is looked for: it says from where on they are needed."""
TRIES = 3
"""How often a verdict is written that lands behind a stranger's record, before the log is given some time."""
BURIED_AT_ONCE = 2
"""Keys that one append buries: more than become free with it, and few enough to keep it quick."""


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

    async def append(self, key: bytes, value: bytes | None, headers: Headers) -> int:
        """Durably; returns the offset, or -1 where only that it is in is known. Raises `StorageError`."""

    async def begin(self) -> int:
        """The first offset that there may be. Raises `StorageError`."""

    async def read(self, start: int, stop: int) -> Sequence[JournalRecord]:
        """Every record from `start` to before `stop`, in order. Raises `StorageError`."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """A key with verdicts. `again` says that it may be given to others: nothing late can be written under it."""

    key: bytes
    offset: int
    count: int
    head: int
    again: bool = False


class DecisionJournal:
    """The journal of one owner of a partition. `append` calls must not overlap.

    `await open()` first, and only then ask for the committed position: a predecessor may forget what was settled before
    it heard of the new epoch.
    """

    def __init__(self, log: JournalLog) -> None:
        self._log = log
        self._epoch = -1
        self._next = 0
        self._entries: deque[_Entry] = deque()
        self._states: deque[_Entry] = deque()
        self._spare: deque[bytes] = deque()
        self._graves: deque[tuple[bytes, int]] = deque()
        self._keys = 0
        self._count = 0
        self._settled = -1
        self._lost = False

    async def open(self) -> None:
        """Begin an epoch: from here on, whoever wrote before writes in vain. Raises `StorageError`."""
        offset = await self._log.append(EPOCH_KEY, b"", [])
        if offset < 0:
            raise StorageError("the decision journal's end isn't known")
        self._epoch = offset
        self._next = offset + 1

    async def load(self, end: int) -> list[bytes]:
        """Every blob that counts, oldest first. Raises `StorageError`.

        `end` is where the data's log ends. A head further beyond it than by one is of a topic that was made anew since:
        nothing would be forgotten until the new one has come that far.
        """
        begin = await self._log.begin()
        start = needed_from(await self._log.read(max(begin, self._epoch - LAST_FEW), self._epoch), begin)
        blobs: dict[bytes, tuple[_Entry, bytes]] = {}
        void: dict[bytes, int] = {}
        for record in await self._log.read(start, self._next):
            if record.key is None or record.key == EPOCH_KEY:
                continue
            if not record.value:
                blobs.pop(record.key, None)
                void.pop(record.key, None)
            elif counts(record):
                count, head = _number(record.headers, "count", 0), min(end + 1, _number(record.headers, "head", 0))
                blobs.pop(record.key, None)
                blobs[record.key] = _Entry(record.key, record.offset, count, head), record.value
            else:
                void[record.key] = record.offset
        self._entries = deque(entry for entry, _ in blobs.values() if entry.count)
        self._states = deque(entry for entry, _ in blobs.values() if not entry.count)
        self._count = sum(entry.count for entry in self._entries)
        self._graves = deque((key, offset) for key, offset in void.items() if key not in blobs)
        return [blob for _, blob in blobs.values()]

    async def append(self, blob: bytes, count: int, head: int, keep: int, committed: int) -> None:
        """As `Partition.journal`. Raises `OwnershipLostError`, `StorageError`."""
        if self._lost:
            raise OwnershipLostError("another process writes this partition's decisions")
        self._forget(keep)
        await self._bury()
        key = self._spare.popleft() if self._spare else self._new_key()
        try:
            offset = await self._write(key, blob, head, count)
        except BaseException:
            # It may be there, or still get there, and a successor may go by it: it stays for as long as it is needed.
            self._entries.append(_Entry(key, self._next, 0, head))
            raise
        (self._entries if count else self._states).append(_Entry(key, offset, count, head, again=True))
        self._count += count
        # Where a successor begins that comes from now on, or further on: what is forgotten next is of no use to it.
        self._settled = committed

    async def _write(self, key: bytes, blob: bytes, head: int, count: int) -> int:
        first = min((offset for _, offset in self._graves), default=self._next)
        for entries in (self._entries, self._states):
            if entries:
                first = min(first, entries[0].offset)
        for _ in range(TRIES):
            numbers = {"epoch": self._epoch, "at": self._next, "head": head, "count": count, "from": first}
            expected = self._next
            offset = await self._log.append(key, blob, _headers(numbers))
            await self._check_alone(offset)
            if offset == expected:
                return offset
        raise StorageError("others write to the decision journal")

    def _new_key(self) -> bytes:
        self._keys += 1
        return b"%d/%d" % (self._epoch, self._keys)

    def _forget(self, keep: int) -> None:
        while self._entries and self._entries[0].head <= self._settled and self._count - self._entries[0].count >= keep:
            entry = self._entries.popleft()
            self._count -= entry.count
            self._let_go(entry)
        while self._states and self._states[0].head <= self._settled:
            self._let_go(self._states.popleft())

    def _let_go(self, entry: _Entry) -> None:
        if entry.again:
            self._spare.append(entry.key)
        else:
            self._graves.append((entry.key, entry.offset))

    async def _bury(self) -> None:
        for _ in range(min(BURIED_AT_ONCE, len(self._graves))):
            offset = await self._log.append(self._graves[0][0], None, _headers({"epoch": self._epoch}))
            await self._check_alone(offset)
            self._graves.popleft()

    async def _check_alone(self, offset: int) -> None:
        """Nobody took over before `offset`, where a record of this owner has landed. Raises as `append`."""
        if offset < 0:
            raise StorageError("where the verdicts landed isn't known")
        if offset != self._next and has_epoch(await self._log.read(self._next, offset)):
            self._lost = True
            raise OwnershipLostError("another process writes this partition's decisions")
        self._next = offset + 1


def counts(record: JournalRecord) -> bool:
    """Whether a verdict landed where its owner, being alone, expected it."""
    return _number(record.headers, "at", -1) == record.offset


def needed_from(records: Iterable[JournalRecord], begin: int) -> int:
    """The offset from which on there are verdicts that are needed, by the last of `records`; at least `begin`."""
    start = begin
    for record in records:
        if counts(record):  # else its owner may know nothing of those after it
            start = max(begin, _number(record.headers, "from", start))
    return start


def has_epoch(records: Iterable[JournalRecord]) -> bool:
    """Whether another owner began among `records`."""
    return any(record.key == EPOCH_KEY for record in records)


def _headers(numbers: Mapping[str, int]) -> Headers:
    return [(name, b"%d" % value) for name, value in numbers.items()]


def _number(headers: Sequence[tuple[str, bytes | None]], name: str, otherwise: int) -> int:
    for found, value in headers:
        if found == name and value is not None and value.isdigit():
            return int(value)
    return otherwise
