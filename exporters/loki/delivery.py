"""The order in which the pieces of a request are pushed, divided and given up."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Protocol

from collector.api import RetryableExportError
from exporters.failing import ALONE
from exporters.loki.answers import Meaning, Verdict
from exporters.loki.staged import SPLITS
from exporters.otlp.sender import DeniedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporters.loki.plan import Limits
    from exporters.loki.staged import Piece, Staged

SURELY_ENTRIES = 128
"""A piece of so few entries is refused for an entry and not for its size."""


class Push(Protocol):
    """One request to Loki. Raises `RetryableExportError` where there is no answer, and `TimeoutError`."""

    async def __call__(self, body: bytes) -> Verdict: ...


class Delivery:
    """Pushes what a `Staged` still holds, one piece after the other.

    `bisect_after_s` is how long a push may fail (500, or 429) before it is divided. `clock` counts seconds, `wall`
    nanoseconds since 1970.
    """

    def __init__(
        self, push: Push, limits: Limits, *, bisect_after_s: float, clock: Callable[[], float], wall: Callable[[], int]
    ) -> None:
        self._push = push
        self._limits = limits
        self._bisect_after_s = bisect_after_s
        self._clock = clock
        self._wall = wall
        self._taken = float("-inf")

    async def send(self, staged: Staged) -> None:
        """One attempt at everything that is left. Raises `RetryableExportError` while something is."""
        failed: deque[Piece] = deque()
        error: RetryableExportError | None = None
        try:
            while staged.pieces:
                piece = staged.pieces[0]
                self._leave_out_what_has_grown_old(staged, piece)
                if not len(piece):
                    _end(staged, piece, clean=False)
                    continue
                try:
                    verdict = await self._push(staged.source.body(piece.positions))
                except (RetryableExportError, TimeoutError):
                    piece.failing.interrupted()
                    raise
                stays = self._judge(staged, piece, verdict)
                if stays is not None:
                    error = stays
                    failed.append(staged.pieces.popleft())
        finally:
            staged.pieces.extendleft(reversed(failed))
        if error is not None:
            raise error

    def _leave_out_what_has_grown_old(self, staged: Staged, piece: Piece) -> None:
        times, now = staged.source.times[piece.positions], self._wall()
        limits = self._limits
        old = (times != 0) & (times < max(0, now - limits.max_age)) if limits.max_age else times < 0
        ahead = times > now + limits.max_ahead if limits.max_ahead else times < 0
        if old.any() or ahead.any():
            staged.refuse(staged.source.rows[piece.positions[old]], "too_old")
            staged.refuse(staged.source.rows[piece.positions[ahead]], "too_far_ahead")
            piece.positions = piece.positions[~(old | ahead)]

    def _judge(self, staged: Staged, piece: Piece, verdict: Verdict) -> RetryableExportError | None:
        """Do with the first piece what the verdict asks for. An error where it stays and the next one may be tried;
        raises where nothing else should be tried now."""
        now = self._clock()
        error = RetryableExportError(verdict.sentence, verdict.wish_ns)
        if verdict.meaning is Meaning.TAKEN:
            self._taken = now
            _end(staged, piece, clean=True)
            return None
        if verdict.meaning in {Meaning.REFUSED, Meaning.TOO_LARGE}:
            _refused(staged, piece, verdict)
            return None
        if verdict.meaning is not Meaning.FAILING:
            piece.failing.interrupted()
        if verdict.meaning is Meaning.DENIED:
            raise DeniedError(verdict.sentence, verdict.wish_ns)
        if verdict.meaning is Meaning.LATER:
            raise error
        if verdict.meaning is Meaning.LIMITED:
            if piece.limited_since is None:
                piece.limited_since = now
            if now - piece.limited_since >= self._bisect_after_s and len(piece) > 1 and staged.splits:
                _end(staged, piece, clean=False)
                staged.pieces.extendleft(reversed(staged.divide(piece)))
            raise error
        piece.failing.again(now, self._taken)
        if piece.failing.lasted < self._bisect_after_s:
            raise error
        return self._fails_for_long(staged, piece, verdict, error, now)

    def _fails_for_long(
        self, staged: Staged, piece: Piece, verdict: Verdict, error: RetryableExportError, now: float
    ) -> RetryableExportError | None:
        """Find the entry that the backend fails on, without mistaking an outage for it, or what an outage ends with."""
        lasted = piece.failing.lasted
        others = self._taken > now - lasted
        if len(piece) > 1 and staged.splits > (0 if others else SPLITS // 2):  # an outage leaves half of them
            _end(staged, piece, clean=False)
            staged.pieces.extendleft(reversed(staged.divide(piece)))
            return None
        if piece.failing.beside >= self._bisect_after_s or lasted >= ALONE * self._bisect_after_s:
            _end(staged, piece, clean=False)
            staged.refuse_piece(piece, verdict.reason, verdict.sentence)
            return None
        return error


def _refused(staged: Staged, piece: Piece, verdict: Verdict) -> None:
    _end(staged, piece, clean=False)
    if len(piece) > 1 and staged.splits:
        first, second = staged.divide(piece)
        if verdict.meaning is Meaning.TOO_LARGE:
            staged.pieces.appendleft(second)
        else:
            first.twin = second
        staged.pieces.appendleft(first)
    else:
        staged.refuse_piece(piece, verdict.reason, verdict.sentence)


def _end(staged: Staged, piece: Piece, *, clean: bool) -> None:
    """The first piece is done with; the half that waited for its outcome is next."""
    staged.pieces.popleft()
    twin, piece.twin = piece.twin, None
    if twin is None:
        return
    if clean and 1 < len(twin) <= SURELY_ENTRIES and staged.splits:
        first, second = staged.divide(twin)  # the other half was taken, so the refused entry is in this one
        first.twin = second
        staged.pieces.appendleft(first)
    else:
        staged.pieces.appendleft(twin)
