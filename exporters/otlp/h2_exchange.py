"""One request on its stream: what has come back so far, within bounds, and how it ends."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from collector.api import ExportError, RejectedExportError
from exporters.otlp.reply import MAX_REPLY

if TYPE_CHECKING:
    from collections.abc import Iterable

_FIELD_COST = 32
"""What a header field counts beside its characters, as in SETTINGS_MAX_HEADER_LIST_SIZE."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the backend answered. `trailers` is None when there were none, as in gRPC's "Trailers-Only"."""

    headers: dict[bytes, bytes]
    trailers: dict[bytes, bytes] | None
    body: bytes


class Exchange:
    """The state of one request. Bodies and header fields are each bounded by `MAX_REPLY`: an answer beyond that is cut.

    `outcome` is None until the exchange has ended, with an answer or with what to raise.
    """

    __slots__ = ("_body", "_changed", "_headers", "_room", "_trailers", "ended", "outcome", "reset", "sent")

    def __init__(self) -> None:
        self.outcome: Answer | ExportError | None = None
        self.sent = False
        """Whether the whole request was handed to the transport."""
        self.ended = False
        """Whether the backend ended its side."""
        self.reset = False
        """Whether the backend reset the stream."""
        self._headers: dict[bytes, bytes] = {}
        self._trailers: dict[bytes, bytes] | None = None
        self._body = bytearray()
        self._room = MAX_REPLY
        self._changed = asyncio.Event()

    async def change(self) -> None:
        """Wait until something is different: an outcome, or room to write."""
        self._changed.clear()
        await self._changed.wait()

    def wake(self) -> None:
        """Something is different."""
        self._changed.set()

    def fail(self, error: ExportError) -> None:
        """End with `error`, unless it has ended."""
        if self.outcome is None:
            self.outcome = error
        self.wake()

    def on_headers(self, fields: Iterable[tuple[bytes, bytes]]) -> None:
        """Header fields of the response. The first value of a field that repeats counts."""
        self._headers = self._counted(fields)

    def on_informational(self, fields: Iterable[tuple[bytes, bytes]]) -> None:
        """A 1xx response: it says nothing, but it counts."""
        self._counted(fields)

    def on_trailers(self, fields: Iterable[tuple[bytes, bytes]]) -> None:
        """Trailing header fields."""
        self._trailers = self._counted(fields)

    def on_data(self, data: bytes) -> None:
        """A part of the body."""
        if len(self._body) + len(data) > MAX_REPLY:
            self._cut()
        elif self.outcome is None:
            self._body += data

    def on_end(self) -> None:
        """The response is complete."""
        self.ended = True
        if self.outcome is None:
            self.outcome = Answer(self._headers, self._trailers, bytes(self._body))
        self.wake()

    def on_reset(self, error: ExportError) -> None:
        """The backend reset the stream, which means `error` unless the response was complete."""
        self.reset = True
        self.fail(error)

    def _counted(self, fields: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
        found: dict[bytes, bytes] = {}
        for name, value in fields:
            self._room -= len(name) + len(value) + _FIELD_COST
            found.setdefault(name, value)
        if self._room < 0:
            self._cut()
        return found

    def _cut(self) -> None:
        self.fail(RejectedExportError("the backend's answer is too long", divisible=False))
