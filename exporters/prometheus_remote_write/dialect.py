"""Which of the two messages the backend understands, and what it says to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from exporters.prometheus_remote_write.options import V1, V2
from exporters.prometheus_remote_write.over_http import Answer, Meaning

if TYPE_CHECKING:
    from exporters.prometheus_remote_write.messages import Messages


class Poster(Protocol):
    """What sends a message of a version."""

    async def post(self, message: bytes, version: int) -> Answer:
        """Send it, and say what the answer means."""


class Dialect:
    """Posts ranges of messages in the version that is pinned, or that the backend is found to understand.

    A receiver of 1.0 answers 415 to 2.0, or 204 although it stored nothing: only the `*-Written` headers tell that it
    did. Some answer 400. The same samples then go out in 1.0, and so does everything after them when that is taken.
    """

    def __init__(self, sender: Poster, message: str, *, metadata: bool) -> None:
        self._sender = sender
        self._metadata = metadata
        self._pinned = message != "auto"
        self._confirmed = False
        self.version = 1 if message == V1 else 2

    async def post(self, messages: Messages, begin: int, end: int) -> Answer:
        """Send the samples `begin` to `end`."""
        version = self.version
        answer = await self._post(messages, begin, end, version)
        if version == 2 and answer.written is not None:
            self._confirmed = True
        if not self._misunderstood(answer, version):
            return answer
        if self._pinned:
            name = V2 if version == 2 else V1
            return Answer(Meaning.DENIED, answer.status, f"the backend does not understand {name}")
        other = 3 - version
        answer = await self._post(messages, begin, end, other)
        if self._misunderstood(answer, other):
            return Answer(Meaning.DENIED, answer.status, "the backend understands neither 1.0 nor 2.0")
        if answer.meaning is Meaning.TAKEN:
            self.version = other
        return answer

    def _misunderstood(self, answer: Answer, version: int) -> bool:
        if answer.meaning is Meaning.UNSUPPORTED:
            return True
        if version == 1 or answer.written is not None:
            return False
        if answer.meaning is Meaning.TAKEN:
            return True
        return answer.meaning is Meaning.REFUSED and not self._confirmed and not self._pinned

    async def _post(self, messages: Messages, begin: int, end: int, version: int) -> Answer:
        if version == 1:
            return await self._sender.post(messages.write_v1(begin, end, self._metadata), 1)
        return await self._sender.post(messages.write_v2(begin, end), 2)
