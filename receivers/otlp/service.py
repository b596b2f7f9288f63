"""The OTLP rules, for every transport alike: who may send, what is valid, and what each outcome is answered
with.

Follows the OTLP specification 1.x. Nothing here knows gRPC or HTTP.
"""

from __future__ import annotations

import hashlib
import hmac
import threading
from contextlib import nullcontext
from typing import TYPE_CHECKING

import numpy as np

from collector.api import Malformed, Outcome, Overloaded, from_json, select, validate
from receivers.otlp.transport import INLINE, Answer, Code, Kind, RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from prometheus_client import Counter, Histogram

    from collector.api import BuildContext, Intake, Permit

OK = Answer(Code.OK, "ok")
RETRY_AFTER_NS = 1_000_000_000
"""The wait that senders are asked for where nobody knows better."""

UNAUTHENTICATED = Answer(Code.UNAUTHENTICATED, "unauthenticated", "a valid bearer token is required")
INTERNAL = Answer(Code.INTERNAL, "internal", "internal error")
LATE = Answer(Code.UNAVAILABLE, "late", "not confirmed in time; send again", RETRY_AFTER_NS)
RETURNED = Answer(Code.UNAVAILABLE, "returned", "not taken; send again", RETRY_AFTER_NS)

_BIG_AT_ONCE = 2
_BAD_IDS = "spans whose trace id is not 16 bytes, or span id not 8 bytes, or all zero were refused"
_UNDELIVERABLE = "the backend refused spans for good; they are in the gateway's dead letter"


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


class TraceDoor:
    """The rules for `ExportTraceServiceRequest`; implements `transport.Door`."""

    def __init__(self, context: BuildContext, intake: Intake, tokens: Tokens, max_spans: int) -> None:
        self._log = context.log
        self._intake = intake
        self._tokens = tokens
        self._max_spans = max_spans
        self._receiver = context.id
        self._requests = context.meter.counter("butterfly_receiver_requests_total")
        self._rejected = context.meter.counter("butterfly_receiver_rejected_items_total")
        self._seconds = context.meter.histogram("butterfly_receiver_ack_seconds")
        self._counted: dict[tuple[str, str], tuple[Counter, Histogram]] = {}  # finding a child costs more
        # The index of a hostile request takes a hundred times its bytes, so only a few big ones exist at
        # once. The event loop never waits for its turn: it exports none of those.
        self._big: AbstractContextManager[object] = threading.BoundedSemaphore(_BIG_AT_ONCE)
        self._small: AbstractContextManager[object] = nullcontext()

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
            with self._big if len(payload) > INLINE else self._small:
                payload, count, bad_ids = self._check(payload, kind)
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
            answer(_accepted(bad_ids, 0))
            return

        def done(outcome: Outcome, _reason: str) -> None:
            if outcome is Outcome.RETRY:
                answer(RETURNED)
            else:
                answer(_accepted(bad_ids, count if outcome is Outcome.REJECTED else 0))

        try:
            permit.submit(payload, count=count, on_done=done)
        except Exception:  # noqa: BLE001 - a pipeline that breaks must not take the listener with it
            self._failed()
            answer(INTERNAL)

    def record(self, transport: str, answer: Answer, seconds: float) -> None:
        key = (transport, answer.outcome)
        counted = self._counted.get(key)
        if counted is None:
            counted = self._counted[key] = (
                self._requests.labels(self._receiver, *key),
                self._seconds.labels(self._receiver, transport),
            )
        counted[0].inc()
        counted[1].observe(seconds)
        if answer.bad_ids:
            self._rejected.labels(self._receiver, "bad_id").inc(answer.bad_ids)
        if answer.undeliverable:
            self._rejected.labels(self._receiver, "undeliverable").inc(answer.undeliverable)

    def _check(self, payload: bytes, kind: Kind) -> tuple[bytes, int, int]:
        """The payload in protobuf without the spans that have no usable ids; how many are in, and how many
        are out.
        """
        if kind is Kind.JSON:
            payload = from_json(payload)
        index = validate(payload, max_spans=self._max_spans)
        bad = int(np.count_nonzero(index.defects))
        count = index.count - bad
        if bad and count:
            payload = select(payload, index, index.defects == 0)
        return payload, count, bad

    def _failed(self) -> None:
        # An exception's text may hold what the network sent: the traceback is for whoever asks for debug
        # output.
        self._log.error("a request failed inside the gateway; debug logging shows where")
        self._log.debug("the failure", exc_info=True)


def _accepted(bad_ids: int, undeliverable: int) -> Answer:
    if not bad_ids and not undeliverable:
        return OK
    message = "; ".join([_BAD_IDS] * bool(bad_ids) + [_UNDELIVERABLE] * bool(undeliverable))
    return Answer(Code.OK, "ok", message, bad_ids=bad_ids, undeliverable=undeliverable)


def _overloaded(error: Overloaded) -> Answer:
    return Answer(Code.UNAVAILABLE, "overloaded", "no room now; send again later", max(error.retry_after_ns, 1_000_000))


def _printable(text: str) -> str:
    return "".join(char if " " <= char <= "~" else "?" for char in text[:200])
