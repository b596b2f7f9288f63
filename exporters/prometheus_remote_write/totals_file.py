"""The totals of delta series on disk: one SQLite file for each exporter, open in one process at a time."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from typing import TYPE_CHECKING

from collector.api import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from exporters.prometheus_remote_write.accumulate import Accumulator

_KEY_BYTES = 32
_FORMAT = 1


class TotalsFile:
    """`key` is the secret that names series in this file. Methods block: call them in a thread, one at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self.key = b""

    def open(self, totals: Accumulator) -> int:
        """Open the file, make it if there is none, and load it; how many damaged totals were thrown away.

        A file that is no database is set aside: sums begin anew, which Prometheus sees as a reset of the counters.
        Raises `ConfigError`.
        """
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                return self._load(totals)
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError:
                self.close()
                for side in ("-wal", "-shm"):
                    self._path.with_name(self._path.name + side).unlink(missing_ok=True)
                os.replace(self._path, self._path.with_name(self._path.name + ".damaged"))  # noqa: PTH105 - same folder
                self._load(totals)
                return 1
        except sqlite3.OperationalError as error:
            busy = error.sqlite_errorcode in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
            said = "another process uses it" if busy else "it can't be opened"
            raise ConfigError([f"the file of the sums over deltas in data_dir: {said}"]) from None
        except OSError as error:
            raise ConfigError([f"data_dir can't hold the sums over deltas: {error.strerror}"]) from None

    def write(self, changed: list[tuple[bytes, bytes]], expired: list[tuple[bytes]]) -> None:
        """Make changes durable, all or nothing. Raises `sqlite3.Error`."""
        if self._connection is None:
            raise sqlite3.OperationalError("the file is closed")
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany("DELETE FROM totals WHERE name = ?", expired)
            self._connection.executemany("INSERT OR REPLACE INTO totals VALUES (?, ?)", changed)

    def close(self) -> None:
        """Close the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _load(self, totals: Accumulator) -> int:
        with contextlib.suppress(FileExistsError):
            os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(self._path, timeout=0, isolation_level=None, check_same_thread=False)
        self._connection = connection
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("CREATE TABLE IF NOT EXISTS about (format INTEGER, key BLOB)")
        connection.execute("CREATE TABLE IF NOT EXISTS totals (name BLOB PRIMARY KEY, row BLOB) WITHOUT ROWID")
        about = connection.execute("SELECT format, key FROM about").fetchall()
        if not about:
            about = [(_FORMAT, os.urandom(_KEY_BYTES))]
            connection.execute("INSERT INTO about VALUES (?, ?)", about[0])
        form, key = about[0]
        if form != _FORMAT or not isinstance(key, bytes) or len(key) != _KEY_BYTES:
            raise sqlite3.DatabaseError("the file has another format")
        self.key = key
        damaged = []
        for name, row in connection.execute("SELECT name, row FROM totals"):
            try:
                totals.load(name, row)
            except (TypeError, ValueError):
                damaged.append((name,))
        if damaged:
            self.write([], damaged)
        return len(damaged)
