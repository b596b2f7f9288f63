"""One remote-write request over HTTP, and what its answer means for the samples in it."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import cramjam

from collector.api import RetryableExportError, client_context
from exporters.http_post import HttpPoster
from exporters.otlp.reply import retry_after_ns
from exporters.prometheus_remote_write.reasons import BAD_REQUEST, DUPLICATE, OUT_OF_ORDER, REQUEST_TOO_LARGE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exporters.prometheus_remote_write.options import RemoteWriteOptions

_IN_THREAD = 256 << 10
"""Bodies from this many bytes on are compressed in a thread."""
_MOST_READ = 4 << 10
"""Bytes of an answer that are looked at; of a longer one, none."""
_DENIED = frozenset({401, 403, 404, 405, 407, 501})
_WRITTEN = "X-Prometheus-Remote-Write-"
_COUNT = re.compile(r"[0-9]{1,18}")
_HEADERS = {
    1: {"Content-Type": "application/x-protobuf", f"{_WRITTEN}Version": "0.1.0"},
    2: {
        "Content-Type": "application/x-protobuf;proto=io.prometheus.write.v2.Request",
        f"{_WRITTEN}Version": "2.0.0",
    },
}
_SAID = (
    (b"duplicate sample", DUPLICATE),
    (b"out of order", OUT_OF_ORDER),
    (b"out of bounds", OUT_OF_ORDER),
    (b"too old", OUT_OF_ORDER),
)


class Meaning(Enum):
    """What an answer says of the request."""

    TAKEN = "taken"
    REFUSED = "refused"
    FAILED = "failed"
    """500: perhaps one of its samples is the cause."""
    LATER = "later"
    DENIED = "denied"
    """The sender is refused and not the data: it waits for a repair."""
    UNSUPPORTED = "unsupported"
    """The message's version isn't understood."""


@dataclass(frozen=True, slots=True)
class Answer:
    """`written` are (samples, histograms, exemplars) of the answer's headers, None without any. `reason` goes with
    REFUSED and `words` with what waits: neither holds anything that the backend wrote."""

    meaning: Meaning
    status: int = 0
    words: str = ""
    reason: int = BAD_REQUEST
    wish: int | None = None
    written: tuple[int, int, int] | None = None


class RemoteWriteSender:
    """A pool of connections to one backend, as many as there are lanes."""

    def __init__(self, options: RemoteWriteOptions) -> None:
        self._options = options
        self._poster: HttpPoster | None = None

    async def start(self) -> None:
        """Open the pool; it connects when the first request is sent. Raises `ConfigError` for files of `tls`."""
        options = self._options
        headers = {name: value.get_secret_value() for name, value in options.headers.items()}
        headers |= {"Content-Encoding": "snappy", "Accept-Encoding": "identity", "User-Agent": "butterfly-collector"}
        self._poster = HttpPoster(
            headers,
            tls=await asyncio.to_thread(client_context, options.tls) if options.secure else None,
            server_name=options.tls.server_name_override,
            connections=options.remote_write_queue.num_consumers,
            timeout_s=options.timeout / 1e9,
        )

    async def stop(self) -> None:
        """Close every connection."""
        if self._poster is not None:
            await self._poster.close()
            self._poster = None

    async def post(self, message: bytes, version: int) -> Answer:
        """Send one message of that version. Raises nothing but cancellation."""
        if self._poster is None:
            return Answer(Meaning.LATER, words="the exporter is not started")
        if len(message) < _IN_THREAD:
            body = bytes(cramjam.snappy.compress_raw(message))
        else:
            body = bytes(await asyncio.to_thread(cramjam.snappy.compress_raw, message))
        try:
            answer = await self._poster.post(
                self._options.url, body, read=_MOST_READ, read_refusals=True, headers=_HEADERS[version]
            )
        except RetryableExportError as error:
            return Answer(Meaning.LATER, words=error.reason)
        except TimeoutError:
            return Answer(Meaning.LATER, words="the backend does not answer in time")
        return answer_of(answer.status, answer.headers, answer.body)


def answer_of(status: int, headers: Mapping[str, str], body: bytes = b"") -> Answer:
    """What a status, its headers and its body mean."""
    headers = {name.lower(): value for name, value in headers.items()}
    written = _written(headers)
    words = f"the backend answers HTTP {status}"
    if status // 100 == 2:
        return Answer(Meaning.TAKEN, status, words, written=written)
    wish = retry_after_ns(headers.get("retry-after"))
    if status == 415:
        meaning = Meaning.UNSUPPORTED
    elif status in _DENIED or status // 100 in {1, 3}:
        meaning = Meaning.DENIED
    elif status == 500:
        meaning = Meaning.FAILED
    elif status in {408, 429} or status // 100 == 5:
        meaning = Meaning.LATER
    else:
        meaning = Meaning.REFUSED
    reason = REQUEST_TOO_LARGE if status == 413 else BAD_REQUEST
    for said, known in _SAID:
        if meaning is Meaning.REFUSED and said in body.lower():
            reason = known
            break
    return Answer(meaning, status, words, reason, wish, written)


def _written(headers: dict[str, str]) -> tuple[int, int, int] | None:
    found = [headers.get(f"{_WRITTEN}{kind}-Written".lower()) for kind in ("Samples", "Histograms", "Exemplars")]
    if all(each is None for each in found):
        return None
    samples, histograms, exemplars = (int(each) if each and _COUNT.fullmatch(each) else 0 for each in found)
    return samples, histograms, exemplars
