"""Acknowledgements: a reference-counted completion that travels with every batch.

An `Ack` is resolved exactly once, with the worst outcome of everything that was forked from it. It is owned by whoever
holds the batch: resolve it, pass it on, `fork` it over several batches, or `join` several into one. Acks are resolved
on the event loop's thread alone; `on_done` must not block and must not raise.

An ack that is garbage-collected unresolved is a bug: it answers RETRY, so that nothing is lost, and is counted in
`leaked()`, which the tests hold at zero.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

from collector.errors import AckError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    OnDone = Callable[["Outcome", str], None]
    OnCounted = Callable[["Outcome", str, int | None], None]


class Outcome(IntEnum):
    """What became of a batch; the larger is the worse, and the worst wins."""

    DELIVERED = 0
    """Everything that must own the data owns it."""
    FILTERED = 1
    """A processor removed it on purpose."""
    REJECTED = 2
    """No backend will ever take it, or a part of it: what was refused is in the dead letter, with its reason."""
    RETRY = 3
    """Nothing owns it, or a part of it; the sender may send it again. The worst: a part that is safe in the dead letter
    must not answer for one that is nowhere."""


_leaks = 0


def leaked() -> int:
    """How many acks were dropped unresolved since the process started."""
    return _leaks


def _nobody(_outcome: Outcome, _reason: str) -> None:
    """Nobody waits."""


def _tell(on_done: Callable[..., None], outcome: Outcome, reason: str, refused: int | None, *, counted: bool) -> None:
    if counted:
        on_done(outcome, reason, refused)
    else:
        on_done(outcome, reason)


class Ack:
    """One completion. `on_done(outcome, reason)` is called exactly once."""

    __slots__ = ("_counted", "_on_done", "_open", "_reason", "_refused", "_worst")

    def __init__(self, on_done: OnDone) -> None:
        self._on_done: Callable[..., None] | None = on_done
        self._counted = False
        self._open = 0
        self._refused: int | None = 0
        self._worst = Outcome.DELIVERED
        self._reason = ""

    @classmethod
    def counted(cls, on_done: OnCounted) -> Ack:
        """An ack whose `on_done(outcome, reason, refused)` also hears how many items REJECTED is about: None means all.

        Where several batches were merged, or one was shown to several, that is the largest number that it can be.
        """
        ack = cls(on_done)  # type: ignore[arg-type]
        ack._counted = True
        return ack

    def resolve(self, outcome: Outcome, reason: str = "", refused: int | None = None) -> None:
        """End this ack; `refused` is how many items REJECTED is about, where it isn't all.

        Raises `AckError` when it was resolved, forked or joined before.
        """
        if self._on_done is None or self._open:
            raise AckError("this acknowledgement was already resolved, forked or joined")
        self._finish(outcome, reason, refused if outcome is Outcome.REJECTED else 0)

    def fork(self, n: int) -> list[Ack]:
        """`n` acks that together stand for this one, which can't be resolved directly any more. `n` >= 1."""
        if self._on_done is None or self._open:
            raise AckError("this acknowledgement was already resolved, forked or joined")
        if n < 1:
            raise ValueError("an acknowledgement is forked into at least one")
        self._open = n
        return [Ack.counted(self._child_done) for _ in range(n)]

    def reclaim(self) -> Ack | None:
        """An ack in place of this one, for whoever gave it away and got an exception back.

        What was forked from it counts no more. None when it was resolved or joined: then somebody else answers.
        """
        on_done, self._on_done = self._on_done, None
        if on_done is None:
            return None
        return Ack.counted(on_done) if self._counted else Ack(on_done)

    @staticmethod
    def join(acks: Sequence[Ack]) -> Ack:
        """One ack that stands for all of `acks`: its outcome becomes the outcome of each."""
        if len(acks) == 1:
            return acks[0]
        # Before the first is taken: those that were would be lost with the error.
        if len(set(acks)) < len(acks) or any(ack.resolved for ack in acks):
            raise AckError("an acknowledgement to join was already resolved, forked or joined")
        taken = [ack._take() for ack in acks]  # noqa: SLF001 - of the same class

        def all_done(outcome: Outcome, reason: str, refused: int | None) -> None:
            for on_done, counted in taken:
                _tell(on_done, outcome, reason, refused, counted=counted)

        return Ack.counted(all_done)

    @staticmethod
    def ignore() -> Ack:
        """An ack that nobody waits for, of data that is only looked at. Dropping it unresolved is no leak."""
        return Ack(_nobody)

    @property
    def resolved(self) -> bool:
        """Whether this ack can no longer be resolved by its holder."""
        return self._on_done is None or self._open > 0

    def _take(self) -> tuple[Callable[..., None], bool]:
        if self._on_done is None or self._open:
            raise AckError("this acknowledgement was already resolved, forked or joined")
        on_done, self._on_done = self._on_done, None
        return on_done, self._counted

    def _child_done(self, outcome: Outcome, reason: str, refused: int | None) -> None:
        if outcome > self._worst:
            self._worst, self._reason = outcome, reason
        if refused is None or self._refused is None:
            self._refused = None
        else:
            self._refused += refused
        self._open -= 1
        if self._open == 0:
            self._finish(self._worst, self._reason, self._refused)

    def _finish(self, outcome: Outcome, reason: str, refused: int | None) -> None:
        on_done, self._on_done = self._on_done, None
        if on_done is not None:
            _tell(on_done, outcome, reason, refused, counted=self._counted)

    def __del__(self) -> None:
        # A fork's parent lives as long as its children (they hold its bound method), so this one has no holder left.
        if self._on_done is not None and self._on_done is not _nobody and not self._open and not self._is_orphan():
            global _leaks  # noqa: PLW0603 - one process-wide figure, read by the tests and the telemetry
            _leaks += 1
            self._finish(Outcome.RETRY, "acknowledgement leaked", 0)

    def _is_orphan(self) -> bool:
        """Whether this was forked from an ack that was reclaimed."""
        parent = getattr(self._on_done, "__self__", None)
        return isinstance(parent, Ack) and parent._on_done is None  # noqa: SLF001 - of the same class
