"""The memory of the samples that the backend has taken: in RAM, and in files that outlive `kill -9`.

After a crash the log gives again what was sent and not yet committed. Prometheus refuses most of it as out of order,
although it is stored: without this memory such a sample ends in the dead letter, after as many requests as it takes to
find it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import struct
import time
from typing import TYPE_CHECKING

from collector.api import ConfigError
from exporters.prometheus_remote_write.sent import SentSamples

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable
    from pathlib import Path

    from exporters.prometheus_remote_write.samples import SampleTable

_MAGIC = b"BFSENT\0\1"
_HEADER = struct.Struct("<8sQ16s")
"""Magic with the format's version, number of the generation, whose samples these are."""
_ENTRY = 16
_FEWEST_SLOTS = 1 << 14
_LASTS_S = 600.0
"""A generation that lasts as long is large enough."""


class SentMemory:
    """Remembers the last `most` to `2 * most` samples that were taken.

    Two files, `<name>.0` and `<name>.1`, hold a generation each: a header, then the entries in the order in which they
    were noted, written with `write` before anything else of the lane is sent. What `write` took is in the page cache
    and outlives the process, though not a loss of power. No checksum is needed, and no order of stores: an entry is 16
    bytes of a keyed hash of what the backend took. A torn one, or one that a disk has spoiled, is the hash of nothing,
    so at the worst a sample is forgotten and takes the ordinary way; none is ever left out that wasn't taken.
    """

    def __init__(self, path: Path, most: int, log: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self._paths = [path.with_name(f"{path.name}.{number}") for number in (0, 1)]
        self._log = log
        self._clock = clock
        self._most_slots = _slots_for(most)
        self._files: list[int] = []
        self._recent = 0
        self._generation = 0
        self._size = 0
        self._began = 0.0
        self._said = False
        self._identity = b""
        self.samples = SentSamples()
        self.repeated = 0
        """Samples that were left out because the backend has them."""

    def open(self, key: bytes, target: str) -> None:
        """Read what earlier lives noted for the same backend with the same key of hashes, else begin anew.

        A file that is none of these is set aside with a warning. Raises `ConfigError` when the files can't be opened
        or another process has them. Blocks.
        """
        self._identity = hashlib.blake2b(target.encode(), key=key, digest_size=16).digest()
        try:
            self._files = [self._opened(path) for path in self._paths]
            headers = [self._generation_of(number) for number in (0, 1)]
            self._recent = int(headers[1] > headers[0])
            self._generation = max(headers)
            for number in (1 - self._recent, self._recent):
                entries = os.pread(self._files[number], os.fstat(self._files[number]).st_size, _HEADER.size)
                self.samples.begin(min(_slots_for(len(entries) // _ENTRY), self._most_slots))
                self.samples.load(entries)
            # A torn entry at the end would shift all that come after it.
            self._size = _HEADER.size + len(entries) // _ENTRY * _ENTRY
            if self._generation == 0:
                self._rotate(_FEWEST_SLOTS)
            os.ftruncate(self._files[self._recent], self._size)
        except OSError as error:
            self.close()
            raise ConfigError([f"data_dir can't hold the memory of what was sent: {error.strerror}"]) from None
        except ConfigError:
            self.close()
            raise
        self._began = self._clock()

    def sift(self, table: SampleTable, begin: int, end: int) -> int:
        """Take what the backend has out of a range of samples; its new end."""
        kept = self.samples.sift(table, begin, end)
        self.repeated += end - kept
        return kept

    def note(self, table: SampleTable, begin: int, end: int) -> None:
        """The backend has taken these samples. Where they can't be written they are remembered for this life alone."""
        if not self._files:
            return
        while self.samples.room < end - begin:
            if not self._make_room():
                return
        entries = self.samples.note(table, begin, end)
        try:
            written = os.pwrite(self._files[self._recent], entries, self._size)
        except OSError:
            written = 0
        # A part is no use to the next life as long as its own entries don't stand one after the other.
        self._size += written // _ENTRY * _ENTRY
        if written < len(entries):
            self._say_unwritten()

    def close(self) -> None:
        """Close the files."""
        for file in self._files:
            os.close(file)
        self._files = []

    def _make_room(self) -> bool:
        """Let the generation grow, or begin the next one. False where it can't hold as much."""
        slots = self.samples.slots
        empty = self.samples.room == slots // 4 * 3
        try:
            if slots < self._most_slots and (empty or self._clock() - self._began < _LASTS_S):
                entries = os.pread(self._files[self._recent], self._size - _HEADER.size, _HEADER.size)
                self.samples.grow(slots * 2, entries)
            elif empty:
                return False
            else:
                self._rotate(slots)
        except OSError:
            self._say_unwritten()
            return False
        return True

    def _rotate(self, slots: int) -> None:
        other = 1 - self._recent
        os.ftruncate(self._files[other], 0)
        os.pwrite(self._files[other], _HEADER.pack(_MAGIC, self._generation + 1, self._identity), 0)
        self._recent = other
        self._generation += 1
        self._size = _HEADER.size
        self._began = self._clock()
        self.samples.begin(slots)

    def _say_unwritten(self) -> None:
        if not self._said:
            self._said = True
            self._log.error("data_dir can't hold what was sent: after a crash, samples may be refused that are stored")

    def _opened(self, path: Path) -> int:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        while True:
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                start = os.pread(file, len(_MAGIC), 0)
            except BlockingIOError:
                os.close(file)
                raise ConfigError(["the memory of what was sent in data_dir: another process uses it"]) from None
            except BaseException:
                os.close(file)
                raise
            if _MAGIC.startswith(start):
                return file
            os.close(file)
            os.replace(path, path.with_name(path.name + ".damaged"))  # noqa: PTH105 - same folder
            self._log.warning("a file of what was sent is damaged or of another version: it begins anew")

    def _generation_of(self, number: int) -> int:
        """The number in a file's header; what isn't of this backend and key is emptied, and 0."""
        header = os.pread(self._files[number], _HEADER.size, 0)
        if len(header) == _HEADER.size:
            _, generation, identity = _HEADER.unpack(header)
            if identity == self._identity and 0 < generation < 1 << 63:
                return int(generation)
        with contextlib.suppress(OSError):
            os.ftruncate(self._files[number], 0)
        return 0


def _slots_for(samples: int) -> int:
    """A power of two of which three quarters are enough."""
    return max(_FEWEST_SLOTS, 1 << (max(samples, 1) * 4 // 3).bit_length())
