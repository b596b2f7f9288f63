"""The dead letter: what no backend takes, kept on disk with its reason, one JSON object a line.

    {"time": "2026-01-31T12:00:00.000Z", "exporter": "otlp/backup", "reason": "rejected: ...",
     "signal": "traces", "items": 1, "payload": "<base64 of the OTLP request>"}

`rejected` stands beside `items` where the backend took all but so many of them and didn't say which.
"""

from __future__ import annotations

import asyncio
import base64
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from collector.batch import Batch, Signal
from collector.errors import StorageError
from collector.line_file import LineFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_NAME = "dead-letter.jsonl"
_PATTERN = "dead-letter*.jsonl"
_END = b'"}'
_STRIDE = 3 << 16
"""Bytes that are encoded at once: base64 takes them by threes."""
_SEGMENTS = 8
"""The newest file is set aside when it holds this part of the room: then it can be replayed and removed."""


@dataclass(frozen=True, slots=True)
class DeadBatch:
    """One line of the dead letter. `payload` is OTLP protobuf; `time` is RFC 3339."""

    time: str
    exporter: str
    reason: str
    signal: Signal
    items: int
    rejected: int | None
    payload: bytes


class DeadLetter:
    """Appends to `<directory>/dead-letter.jsonl`, readable by its owner alone. Serves any number of queues.

    All files together hold at most `max_size` bytes. Full means full: nothing is overwritten, `write` raises,
    and room comes back as soon as somebody removes a file.
    """

    def __init__(self, directory: Path | str, max_size: int) -> None:
        self._directory = Path(directory)
        self._max_size = max_size
        self._file = LineFile(self._directory / _NAME, max_bytes=max(1, max_size // _SEGMENTS), fsync=True)
        self._lock = threading.Lock()

    async def write(self, batch: Batch, exporter_id: str, reason: str, rejected: int | None = None) -> None:
        """Append `batch`; it is on the disk (fsync) when this returns. Does not touch its ack.

        Raises `StorageError` when it can't be written; the file is then as it was before.
        """
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        entry: dict[str, str | int] = {
            "time": now,
            "exporter": exporter_id,
            "reason": reason,
            "signal": batch.signal.value,
            "items": len(batch),
        }
        if rejected is not None:
            entry["rejected"] = rejected
        await asyncio.to_thread(self._write, entry, batch.to_bytes())

    def _write(self, entry: dict[str, str | int], payload: bytes) -> None:
        head = orjson.dumps(entry)[:-1] + b',"payload":"'
        size = len(head) + (len(payload) + 2) // 3 * 4 + len(_END)

        def produce(write: Callable[[bytes], None]) -> None:
            write(head)
            for start in range(0, len(payload), _STRIDE):
                write(base64.b64encode(payload[start : start + _STRIDE]))
            write(_END)

        with self._lock:
            try:
                self._append(size, produce)
            except OSError as error:
                raise StorageError(f"the dead letter can't be written: {error.strerror}") from None

    def _append(self, size: int, produce: Callable[[Callable[[bytes], None]], None]) -> None:
        used = sum(file.stat().st_size for file in self._directory.glob(_PATTERN))
        if used + size + 1 > self._max_size:
            raise StorageError("the dead letter is full: replay or remove its files")
        try:
            self._file.append_in_pieces(size, produce)
        finally:
            self._file.close()


def read(directory: Path | str) -> Iterator[DeadBatch]:
    """Every batch in the dead letter at `directory`, oldest first, without a line that a crash cut off."""
    folder = Path(directory)
    aside = sorted(path for path in folder.glob(_PATTERN) if path.name != _NAME)
    newest = folder / _NAME
    for path in [*aside, newest] if newest.exists() else aside:
        with path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break
                entry = orjson.loads(line)
                yield DeadBatch(
                    time=entry["time"],
                    exporter=entry["exporter"],
                    reason=entry["reason"],
                    signal=Signal(entry["signal"]),
                    items=entry["items"],
                    rejected=entry.get("rejected"),
                    payload=base64.b64decode(entry["payload"]),
                )
