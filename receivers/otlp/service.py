"""The OTLP rules, for every transport alike: who may send, what is valid, and what each outcome is answered
with.

Follows the OTLP specification 1.x. Nothing here knows gRPC or HTTP.
"""

from __future__ import annotations

import hashlib
import hmac
import threading
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from collector.api import Malformed, Outcome, Overloaded, from_json, select
from receivers.otlp.transport import INLINE, Answer, Code, Kind, RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from logging import Logger

    from numpy.typing import NDArray

    from collector.api import Intake, Permit
    from receivers.otlp.counts import Counts
    from receivers.otlp.signals import SignalRules

OK = Answer(Code.OK, "ok")
RETRY_AFTER_NS = 1_000_000_000
"""The wait that senders are asked for where nobody knows better."""

UNAUTHENTICATED = Answer(Code.UNAUTHENTICATED, "unauthenticated", "a valid bearer token is required")
INTERNAL = Answer(Code.INTERNAL, "internal", "internal error")
LATE = Answer(Code.UNAVAILABLE, "late", "not confirmed in time; send again", RETRY_AFTER_NS)
RETURNED = Answer(Code.UNAVAILABLE, "returned", "not taken; send again", RETRY_AFTER_NS)

_BIG_AT_ONCE = 2


class Tokens:
    """Bearer tokens that may send. None at all means that everybody may; an unknown, empty or missing one may
    not.

    Compared in constant time, as SHA-256 digests so that lengths don't show either.
    """

    def __init__(self, tokens: Sequence[str]) -> None:
        self._digests = tuple(hashlib.sha256(token.encode()).digest() for token in tokens)

    def allow(self, authorization: str | bytes | None) -> bool:
        """Whether the value of an `authorization` header is good."""
        if not self._digests:
            return True
        if authorization is None:
            return False
        # aiohttp keeps bytes that aren't UTF-8 as surrogates: no configured token has any.
        value = authorization.encode(errors="replace") if isinstance(authorization, str) else authorization
        scheme, _, token = value.partition(b" ")
        given = hashlib.sha256(token.strip()).digest()
        known = False
        for digest in self._digests:
            known |= hmac.compare_digest(digest, given)
        return known and scheme.lower() == b"bearer"


class Turns:
    """The turns of big requests, for all doors of a receiver together.

    The index of a hostile request takes a hundred times its bytes, so only a few big ones exist at once. The event loop
    never waits for its turn: it exports none of those.
    """

    def __init__(self) -> None:
        self._big: AbstractContextManager[object] = threading.BoundedSemaphore(_BIG_AT_ONCE)
        self._small: AbstractContextManager[object] = nullcontext()

    def of(self, size: int) -> AbstractContextManager[object]:
        """What a request of `size` bytes is checked in."""
        return self._big if size > INLINE else self._small


class _Checked(NamedTuple):
    """A request in protobuf, without what has no usable ids."""

    payload: bytes
    items: int
    bad_ids: int
    remark: str


class Door:
    """The rules for one signal's `Export*ServiceRequest`, `most` items in one; implements `transport.Door`."""

    def __init__(
        self,
        rules: SignalRules,
        most: int,
        intake: Intake,
        *,
        tokens: Tokens,
        counts: Counts,
        turns: Turns,
        log: Logger,
    ) -> None:
        self.rejected = rules.rejected
        self.record = partial(counts.record, rules.signal.value)
        self._rules = rules
        self._most = most
        self._intake = intake
        self._tokens = tokens
        self._turns = turns
        self._log = log

    def authorize(self, authorization: str | bytes | None) -> None:
        if not self._tokens.allow(authorization):
            raise RefusedError(UNAUTHENTICATED)

    def admit(self, size: int) -> Permit:
        try:
            return self._intake.admit(size)
        except Overloaded as error:
            raise RefusedError(_overloaded(error)) from None

    def grow(self, permit: Permit, size: int) -> None:
        try:
            permit.grow(size)
        except Overloaded as error:
            permit.release()
            raise RefusedError(_overloaded(error)) from None

    def export(self, payload: bytes, kind: Kind, permit: Permit, answer: Callable[[Answer], None]) -> None:
        try:
            with self._turns.of(len(payload)):
                payload, count, bad_ids, remark = self._check(payload, kind)
        except Malformed as error:
            permit.release()
            answer(Answer(Code.INVALID_ARGUMENT, "malformed", f"malformed OTLP request: {_printable(str(error))}"))
            return
        except Exception:  # noqa: BLE001 - whatever it is, the room is given back and the sender answered
            permit.release()
            self._failed()
            answer(INTERNAL)
            return
        if count == 0:
            permit.release()
            answer(self._accepted(bad_ids, 0, remark))
            return

        def done(outcome: Outcome, _reason: str, refused: int) -> None:
            if outcome is Outcome.RETRY:
                answer(RETURNED)
            else:
                answer(self._accepted(bad_ids, refused if outcome is Outcome.REJECTED else 0, remark))

        try:
            permit.submit(payload, count=count, on_done=done)
        except Exception:  # noqa: BLE001 - a pipeline that breaks must not take the listener with it
            self._failed()
            answer(INTERNAL)

    def _check(self, payload: bytes, kind: Kind) -> _Checked:
        rules = self._rules
        if kind is Kind.JSON:
            payload = from_json(payload, rules.signal.value)
        index, defects = rules.check(payload, self._most)
        if defects is None or not defects.any():
            return _Checked(payload, index.count, 0, "")
        if rules.kept:
            return _Checked(payload, index.count, 0, rules.kept)
        good: NDArray[np.bool_] = defects == 0
        count = int(np.count_nonzero(good))
        if count:
            payload = select(payload, index, good)
        return _Checked(payload, count, index.count - count, rules.refused)

    def _accepted(self, bad_ids: int, undeliverable: int, remark: str) -> Answer:
        if undeliverable:
            lost = f"the backend refused {self._rules.items} for good; they are in the gateway's dead letter"
            remark = f"{remark}; {lost}" if remark else lost
        return Answer(Code.OK, "ok", remark, bad_ids=bad_ids, undeliverable=undeliverable) if remark else OK

    def _failed(self) -> None:
        # An exception's text may hold what the network sent: the traceback is for whoever asks for debug
        # output.
        self._log.error("a request failed inside the gateway; debug logging shows where")
        self._log.debug("the failure", exc_info=True)


def _overloaded(error: Overloaded) -> Answer:
    return Answer(Code.UNAVAILABLE, "overloaded", "no room now; send again later", max(error.retry_after_ns, 1_000_000))


def _printable(text: str) -> str:
    return "".join(char if " " <= char <= "~" else "?" for char in text[:200])
