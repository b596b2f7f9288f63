"""Looks for planted values in whatever a gateway wrote, also where they stand encoded."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from canary import Canary
    from numpy.typing import NDArray

_WINDOW = 8
_MARK_BITS = 22

_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{12,}")
_HEX = re.compile(rb"(?:[0-9a-f]{2}|[0-9A-F]{2}){8,}")
_ESCAPE = re.compile(rb'\\(?:u([0-9a-fA-F]{4})|(["\\/nrt]))')
_SHORT = {b"n": b"\n", b"r": b"\r", b"t": b"\t"}
_BOUNDARY = b"\0"


class Search:
    """Finds the canaries of `parts` in bytes: as they are, in either case, in JSON's escapes (also twice), in percent
    escapes, in base64 (of all alignments, both alphabets) and in hexadecimal digits. A part has 8 bytes at least."""

    def __init__(self, *parts: Mapping[bytes, Canary]) -> None:
        self._beginning: dict[bytes, list[tuple[bytes, Canary]]] = {}
        for part, canary in (item for each in parts for item in each.items()):
            self._beginning.setdefault(part[:_WINDOW], []).append((part, canary))
        self._marks = np.zeros(1 << _MARK_BITS, np.bool_)
        for beginning in self._beginning:
            self._marks[_marks(beginning)] = True

    def __call__(self, data: bytes) -> set[Canary]:
        """All that are in there in any form."""
        return {canary for view in views(data) for canary in self._found(view.lower())}

    def _found(self, data: bytes) -> Iterator[Canary]:
        if len(data) < _WINDOW:
            return
        for at in np.flatnonzero(self._marks[_marks(data)]).tolist():
            for part, canary in self._beginning.get(data[at : at + _WINDOW], ()):
                if data.startswith(part, at):
                    yield canary


def _marks(data: bytes) -> NDArray[np.uint64]:
    """A small hash of each eight bytes that follow one another."""
    raw = np.frombuffer(data, np.uint8).astype(np.uint64)
    count = len(raw) - _WINDOW + 1
    windows = sum((raw[at : at + count] << np.uint64(8 * at) for at in range(_WINDOW)), np.zeros(count, np.uint64))
    return windows * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(64 - _MARK_BITS)


def views(data: bytes) -> Iterator[bytes]:
    """The data, and what it would be if everything in it that could be an encoding was one."""
    yield data
    once = _unescaped(data)
    yield once
    yield _unescaped(once)
    yield unquote_to_bytes(data)
    runs = [run.translate(bytes.maketrans(b"-_", b"+/")) for run in _BASE64.findall(data)]
    for start in range(4):
        yield _joined(_decoded(run[start:]) for run in runs)
    runs = _HEX.findall(data)
    for start in range(2):
        yield _joined(bytes.fromhex(run[start : start + (len(run) - start) // 2 * 2].decode()) for run in runs)


def _decoded(run: bytes) -> bytes:
    """Base64 whose padding is gone; a last digit that can't be one is left out."""
    whole = run[:-1] if len(run) % 4 == 1 else run
    return base64.b64decode(whole + b"=" * (-len(whole) % 4))


def _joined(parts: Iterable[bytes]) -> bytes:
    return _BOUNDARY.join(parts)


def _unescaped(data: bytes) -> bytes:
    def plain(match: re.Match[bytes]) -> bytes:
        if match[1]:
            return chr(int(match[1], 16)).encode(errors="replace")
        return _SHORT.get(match[2], match[2])

    return _ESCAPE.sub(plain, data)
