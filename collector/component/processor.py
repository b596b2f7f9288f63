"""Processors change or hold batches. Synchronous, no clock reads, no sockets: the graph owns tasks, timers and time."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from collector.component.base import Component

if TYPE_CHECKING:
    from collections.abc import Iterable

    from collector.batch import Batch
    from collector.component.trace_board import Decided


class Processor(Component):
    """Base of processors.

    Return every batch you were given, never swallow one: an emptied batch (`batch.select(nothing)`) is returned and the
    graph acknowledges it. A batch may be held and returned later, from `process`, `tick` or `drain`. What a processor
    raises on goes back to its sender as retryable. Out of a log, where nobody resends it, it goes to the dead letter;
    where the processor is `pure`, only the items that it raises on do.

    `pure` promises that the same batch always gives the same result and that nothing is held: only such a processor may
    stand before a lookahead processor in the same pipeline, because it runs on both readings of the log.
    """

    pure: ClassVar[bool] = False

    def process(self, batch: Batch) -> Iterable[Batch]:
        """Take one batch; return what goes on now."""
        return (batch,)

    def tick(self, now_ns: int) -> Iterable[Batch]:
        """Called about ten times a second with the pipeline's own time; return held batches that are due."""
        del now_ns
        return ()

    def drain(self) -> Iterable[Batch]:
        """The pipeline stops: return everything that is held."""
        return ()


class Stateful(Processor):
    """A processor that remembers what passed, such as a sum over earlier batches, and goes on with it after a restart.

    Where a durable log feeds its pipeline the graph keeps `snapshot()` in the log's journal, and commits the log at the
    positions alone at which one was taken: after a crash the processor is given the state that it had there, and then
    every record from there on. So nothing is counted twice, and nothing not at all. It holds no batches, and neither
    does what stands before it in its pipeline, for a state must be that of a position. Without a durable log, `restore`
    is never called.
    """

    @abstractmethod
    def snapshot(self) -> bytes | list[bytes]:
        """All that it remembers, in its own encoding; in several pieces where it is large, since they are let go one
        after the other. Called between two batches, once a second or, where it is large, more seldom."""

    @abstractmethod
    def restore(self, blob: bytes) -> None:
        """What `snapshot` gave in an earlier life, in one piece. Called before anything else, at most once.

        Raises `ValueError` with a sentence when it can't be read: the processor then goes on with nothing, as if it had
        not been called.
        """

    def kept(self, snapshots: int) -> None:
        """A restart would now begin with what the `snapshots`-th call of `snapshot` gave, or with a later one."""
        del snapshots


class Admitting(Processor):
    """A processor that also guards the door: the graph asks it before a request is decoded."""

    @abstractmethod
    def admit(self, size: int, inflight: int) -> None:
        """Raise `Overloaded` to refuse a request of `size` wire bytes while `inflight` are inside. Thread-safe."""


@dataclass(frozen=True, slots=True)
class Verdicts:
    """Decisions that must be durable before they have an effect. `blob` is the processor's own encoding."""

    blob: bytes
    count: int


class Lookahead(Processor):
    """A processor that sees every record twice: at the head of the log, and again when its fate is known.

    The graph calls `observe` with the records as they arrive (several at once, merged, where they are small), in order
    of position, and `tick` with the stream time, which decides what is due; makes the `Verdicts` of
    `take_verdicts` durable; and calls `process` for the records before `boundary()`, in order, once the verdicts taken
    at that boundary are durable. Between the two the processor keeps no payload. One instance serves one partition of
    the log; after a restart it is given the journal's blobs (`restore`), then observes again from the committed
    position: a verdict that was restored is never decided anew.
    """

    journal_entries: int = 1_000_000
    """How many verdicts are worth keeping in the journal beyond those that a restart needs."""

    @abstractmethod
    def observe(self, batch: Batch, position: int, upto: int, now_ns: int) -> None:
        """The records from `position` to before `upto`, appended by stream time `now_ns`, from which new traces count.

        Nothing is decided here: the graph calls `tick` with the time before the records first, so that no span that
        came in time finds its trace decided.
        """

    @abstractmethod
    def boundary(self) -> int:
        """Every record before this position has all of its traces decided; the last `upto` when no trace is open."""

    @abstractmethod
    def take_verdicts(self) -> Verdicts | None:
        """The verdicts made since the last call, or None."""

    @abstractmethod
    def restore(self, blob: bytes) -> None:
        """A blob that `take_verdicts` gave in an earlier life. Oldest first."""

    @classmethod
    def decided_in(cls, blob: bytes) -> Decided | None:
        """What a blob of `take_verdicts` says of traces, for the `TraceBoard`; None for a processor that decides
        about none. Raises `ValueError` for a damaged one."""
        del blob
        return None

    @abstractmethod
    def settled(self, position: int) -> None:
        """Every record before `position` has been processed: verdicts that only they needed may be forgotten."""

    @abstractmethod
    def shed(self, position: int) -> None:
        """Room is short: decide now, on what is known, every trace that began before `position`. Counted as early."""

    def has_room(self) -> bool:
        """Whether more can be observed before the tail moves on. The head waits while it can't; should the tail in turn
        wait for a decision, `shed` ends that."""
        return True

    @abstractmethod
    def decide_all(self) -> None:
        """Decide every open trace on what is there: the pipeline stops and its log dies with it."""

    def explain(self, trace_id: bytes) -> dict[str, Any] | None:
        """What is known of the verdict of a trace (16 bytes), for a person; None when nothing is."""
        del trace_id
        return None
