"""What processors remember, kept over a restart: taken with a position, durable before that position is committed.

The state at position P is what the records before P, all of them and no others, have made of it. It is taken between
two records and journaled; the log is committed at such a P alone, when everything before it is settled. So whatever was
in flight when the process died is read again by processors that have not seen it yet.
"""

from __future__ import annotations

import logging
import os
import struct
from collections import deque
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING
from zlib import crc32

from collector.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from collector.component.processor import Stateful
    from collector.graph.journal import SharedJournal

log = logging.getLogger("butterfly.graph")

MAGIC = b"BUTTERFLY STATE\n"
PART_BYTES = 512 << 10
"""What one entry of a journal holds at the most: a broker takes no large ones."""
BYTES_PER_S = 2 << 20
"""A large state is taken more seldom, so that writing it costs no more than this; the log is committed as seldom."""
PATIENCE_S = 30.0
"""So long a state that can't be written holds commits back; then they go on without, or a full disk would stay full."""
_PART = struct.Struct("<16sQQIII")
# magic, position, name of this state, number of the part, number of parts, checksum of the part
_NAME = struct.Struct("<II")
# sizes of a processor's ID and of its state


@dataclass(slots=True)
class _Found:
    position: int
    parts: dict[int, bytes] = field(default_factory=dict)
    count: int = 0

    @property
    def complete(self) -> bool:
        return len(self.parts) == self.count


class States:
    """Those of `processors` over one partition, whose position was `committed` when it was assigned."""

    def __init__(
        self,
        name: str,
        committed: int,
        processors: Sequence[Stateful],
        journal: SharedJournal,
        *,
        keep: int = 0,
        now: Callable[[], float] = monotonic,
    ) -> None:
        self._name = name
        self._committed = committed
        self._processors = processors
        self._journal = journal
        self._keep = keep
        self._now = now
        self._safe = committed
        self._due = now()
        self._failing_since: float | None = None
        self._taken = 0
        self._durable: deque[tuple[int, int]] = deque()

    async def restore(self) -> None:
        """Give each processor its state at the committed position. Raises `StorageError` when the log can't be read."""
        found = [each for each in _assembled(await self._journal.states()) if each.position <= self._committed]
        if not found:
            return
        newest = max(each.position for each in found)
        # Of one position there may be two, of two lives: the later one's is what it went on with.
        state = [each for each in found if each.position == newest][-1]
        if newest < self._committed:
            log.warning(
                "partition %s: what processors remember is as old as position %d, and %d is committed",
                self._name,
                newest,
                self._committed,
            )
        blobs = _unpacked(b"".join(state.parts[number] for number in range(state.count)))
        for processor in self._processors:
            blob = blobs.get(processor.id)
            if blob is None:
                continue
            try:
                processor.restore(blob)
            except ValueError as error:
                log.error("processor %s begins anew, its state can't be read: %s", processor.id, error)  # noqa: TRY400 - no traceback for an operator

    async def committable(self, processed: int, settled: int, *, last: bool = False) -> int:
        """The position up to which the log may be committed: its state is durable, and all before it is settled.

        The processors have seen all records before `processed`, and nothing of those after it. Where one is due, or
        with `last`, their state there is made durable. Raises `OwnershipLostError`.
        """
        waiting = self._safe > settled
        due = self._now() >= self._due and not waiting
        if processed == self._safe or not (due or (last and processed == settled)):
            return 0 if waiting else self._safe
        before = self._safe
        try:
            await self._save(processed)
        except StorageError as error:
            now = self._now()
            if self._failing_since is None:
                self._failing_since = now
            if now - self._failing_since < PATIENCE_S:
                log.warning("partition %s: commits wait for the state of processors: %s", self._name, error)
                return 0 if waiting else before
            log.error("partition %s: committed without the state of processors: %s", self._name, error)  # noqa: TRY400 - no traceback for an operator
            return settled
        self._failing_since = None
        self._safe = processed
        return before if processed > settled else processed

    def committed(self, position: int) -> None:
        """The log was committed at `position`: a restart begins with the state there."""
        number = 0
        while self._durable and self._durable[0][0] <= position:
            _, number = self._durable.popleft()
        if number:
            for processor in self._processors:
                processor.kept(number)

    async def _save(self, position: int) -> None:
        self._taken += 1
        number = self._taken
        pieces = _packed({each.id: each.snapshot() for each in self._processors})  # before anything is awaited
        size = sum(map(len, pieces))
        self._due = self._now() + size / BYTES_PER_S
        count = -(-size // PART_BYTES)
        name = int.from_bytes(os.urandom(8), "little")
        for at, part in enumerate(_parts(pieces)):
            head = _PART.pack(MAGIC, position, name, at, count, crc32(part))
            # It is needed until a later position is committed: so its head is one further on.
            await self._journal.append(head + part, 0, position + 1, self._keep)
        self._durable.append((position, number))


def is_state(blob: bytes) -> bool:
    """Whether an entry of a journal is part of a state, and no verdicts."""
    return blob.startswith(MAGIC)


def _packed(states: dict[str, bytes | list[bytes]]) -> deque[bytes]:
    """What `_unpacked` reads, in pieces."""
    out: deque[bytes] = deque()
    for name, state in states.items():
        encoded, pieces = name.encode(), [state] if isinstance(state, bytes) else state
        out.append(_NAME.pack(len(encoded), sum(map(len, pieces))) + encoded)
        out.extend(pieces)
    return out


def _parts(pieces: deque[bytes]) -> Iterator[bytes]:
    """The pieces, which are let go meanwhile, as parts of PART_BYTES each; the last one may be shorter."""
    gathered: list[bytes | memoryview] = []
    room = PART_BYTES
    while pieces:
        piece = memoryview(pieces.popleft())
        while len(piece) >= room:
            yield b"".join([*gathered, piece[:room]])
            piece, room = piece[room:], PART_BYTES
            gathered.clear()
        gathered.append(piece)
        room -= len(piece)
    if room < PART_BYTES:
        yield b"".join(gathered)


def _unpacked(packed: bytes) -> dict[str, bytes]:
    blobs, at = {}, 0
    while at < len(packed):
        name, size = _NAME.unpack_from(packed, at)
        at += _NAME.size
        blobs[packed[at : at + name].decode()] = packed[at + name : at + name + size]
        at += name + size
    return blobs


def _assembled(blobs: Iterable[bytes]) -> list[_Found]:
    """The states that are whole, in the order in which they were begun."""
    found: dict[int, _Found] = {}
    for blob in blobs:
        if len(blob) < _PART.size:
            continue
        _, position, name, number, count, checksum = _PART.unpack_from(blob)
        part = blob[_PART.size :]
        if crc32(part) == checksum and number < count:
            state = found.setdefault(name, _Found(position, count=count))
            state.parts[number] = part
    return [state for state in found.values() if state.complete]
