"""Durable connectors: the exporter of one pipeline and the receiver of another, with a log on disk between the two.

A connector carries every signal, each in a log of its own, and several pipelines may read one log: each of these
**readers** sees every record, and has a position and a decision journal of its own. A log has one or more partitions.
Records have positions 0, 1, 2, ... in each; positions are never reused. The graph reads each partition twice (head and
tail, see `Lookahead`), and commits the position before which everything is settled. A record may be deleted when every
configured reader has settled it. `tests/contract` holds every implementation to this page.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, ClassVar, Protocol

from collector.batch import ANONYMOUS, Context, Signal
from collector.component.base import Component

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from collector.batch import Batch
    from collector.component.verdict_feed import VerdictFeed


_PLAIN = re.compile(r"[A-Za-z0-9_-]{1,100}")


@dataclass(frozen=True, slots=True)
class Reader:
    """A pipeline that reads a connector, by the configuration: whether this process runs it or another one does.

    `journal` says whether it keeps anything there: verdicts of a lookahead processor, or what a stateful one remembers.
    """

    id: str
    signal: Signal
    journal: bool = True

    @property
    def name(self) -> str:
        """Its ID for the names of files, topics and groups: ASCII letters, digits, `-`, `_` and `.`, at most 100 long.

        `traces/sample` is `traces-sample`; no two IDs have the same name.
        """
        plain = self.id.replace("/", "-", 1)
        if _PLAIN.fullmatch(plain):
            return plain
        return f"{re.sub('[^A-Za-z0-9_-]', '-', plain)[:80]}.{sha256(self.id.encode()).hexdigest()[:16]}"


@dataclass(frozen=True, slots=True)
class Record:
    """One appended batch, as it is read back. `time_ns` is stream time at append, non-decreasing along the log."""

    position: int
    time_ns: int
    payload: bytes
    count: int
    signal: Signal = Signal.TRACES
    context: Context = ANONYMOUS


@dataclass(frozen=True, slots=True)
class Chunk:
    """What one read gave. `next` is where to read on: past damaged records too, which the connector counts as lost."""

    records: Sequence[Record]
    next: int


class Partition(ABC):
    """One ordered log, as one reader has it. All methods are called on the event loop's thread; none blocks it."""

    name: str
    pace_s: float = 0.05
    """Seconds that small records may gather before they are observed together. What a stage costs per call is paid so
    many times a second and partition: a process with many partitions wants it longer."""

    @property
    @abstractmethod
    def committed(self) -> int:
        """Position before which everything was settled; reading starts here after a restart."""

    @property
    @abstractmethod
    def end(self) -> int:
        """Position after the newest durable record."""

    @abstractmethod
    def now_ns(self) -> int:
        """Stream time: never goes back, and steps of the machine's clock don't move it."""

    @abstractmethod
    async def wait(self, position: int) -> None:
        """Return when `end > position`."""

    @abstractmethod
    async def read(self, position: int, max_bytes: int) -> Chunk:
        """Records from `position` on, at least one readable record or skipped damage when `position < end`.

        Stops before `max_bytes` of payload are exceeded, but never gives fewer than one record. Raises `StorageError`
        when the log can't be read now, which is no damage: it is read again later.
        """

    @abstractmethod
    async def commit(self, position: int) -> None:
        """Everything before `position` is settled. Durable when it returns.

        Raises `OwnershipLostError` (never retried) or `StorageError` (tried again at the next commit).
        """

    @abstractmethod
    async def journal(self, blob: bytes, count: int, head: int, keep: int) -> None:
        """Make `count` verdicts durable; `head` is the position up to which records were observed when they were made.
        It may be one beyond the end, for what must be kept until a record that isn't there yet is settled.

        Older blobs may be dropped when their `head` is not after the committed position and at least `keep` newer
        verdicts remain, or fewer where the log is small. Those that hold none (`count` 0) may be dropped as soon as
        their `head` isn't after it. Raises as `commit`.
        """

    @abstractmethod
    async def load_journal(self) -> Sequence[bytes]:
        """Every blob that is kept, oldest first. Ask for it before the first `journal`: what it gives is what stays."""

    def under_pressure(self) -> bool:
        """Whether the log runs out of room, so that the graph should have traces decided early and commit sooner."""
        return False


class PartitionListener(Protocol):
    """The graph's side: told which partitions are this process's to read. It wants the records of one signal.

    `id` is the reading pipeline's, under which the log keeps its position and its journal.
    """

    id: str
    signal: Signal

    async def assigned(self, partition: Partition) -> None:
        """Begin to read `partition`."""

    async def revoked(self, partition: Partition) -> None:
        """Flush and commit within a bounded time, then forget `partition`."""


class Connector(Component):
    """Base of connectors, the exporters of one pipeline and the receivers of another: a `DurableConnector`, which keeps
    what passes, or a `DerivingConnector`, which makes something else of it."""


class DurableConnector(Connector):
    """Base of durable connectors.

    `shared` says that processes of other machines may read and write the same log. Then `verdict_feed` gives one.
    """

    shared: ClassVar[bool] = False

    async def start(self, listeners: Sequence[PartitionListener]) -> None:
        """Open the logs, and begin to assign partitions to the `listeners`: the readers that this process runs.

        `context.readers` has all there are. Raises when a log can't be opened.
        """
        raise NotImplementedError

    async def stop(self) -> None:
        """Revoke what is assigned, finish appends, close. What was not settled stays for the next life."""
        raise NotImplementedError

    def append(self, batch: Batch) -> None:
        """Take one batch over; returns at once.

        `batch.ack` is resolved DELIVERED when the record is durable, RETRY with a reason when it can't be written.
        """
        raise NotImplementedError

    def ready(self) -> str | None:
        """None when the log can take appends, else the reason for a person."""
        return None

    def verdict_feed(self, reader: Reader, publish: Callable[[bytes], None]) -> VerdictFeed | None:
        """Not started yet: what gives `publish` every blob of the journals of `reader`, whose owners are anywhere.

        It needs no start of the connector. `publish` raises `ValueError` for a blob that can't be read, which is
        counted and passed over. None where the log is this process's alone.
        """
        del reader, publish
        return None
