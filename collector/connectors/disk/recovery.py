"""Opening a log: what an earlier life left, put together into positions, with every loss named."""

from __future__ import annotations

import contextlib
import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from collector.connectors.disk import files
from collector.connectors.disk import state as states
from collector.connectors.disk.rows import DamagedError, Kind
from collector.connectors.disk.salvage import Salvage
from collector.connectors.disk.segments import Segment

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from collector.connectors.disk.files import Synchronous
    from collector.connectors.disk.state import StateFile


@dataclass(frozen=True, slots=True)
class Loss:
    """Something that was there and isn't. `reason` is the metric's label, `sentence` is for the log."""

    reason: str
    count: int
    sentence: str


@dataclass(frozen=True, slots=True)
class Recovered:
    """The log as it stands when it is opened. `segments` hold positions without a gap up to `end`."""

    state: StateFile
    segments: list[Segment]
    committed: int
    end: int
    time_ns: int
    losses: list[Loss]
    notes: list[str]


def recover(directory: Path, synchronous: Synchronous, room: int, wall_ns: Callable[[], int]) -> Recovered:
    """Put the log together; `room` as for `StateFile.begin`.

    Raises `OSError`, `sqlite3.Error`, `StorageError`; then nothing was lost by trying.
    """
    found = states.recover(directory)
    losses: list[Loss] = []
    notes: list[str] = []
    segments, end, time_ns = _segments(directory, found.mark.end)
    end = max(end, found.mark.committed, *(blob.head for blob in found.blobs), 0)
    if segments:
        segments[-1].end = end
    time_ns = max(time_ns, found.mark.time_ns) or wall_ns()
    committed = found.mark.committed
    first = segments[0].base if segments else end
    if segments and not found.found:
        losses.append(Loss("journal", 1, "the log's state file is missing, with its decision journal"))
    elif found.lost_blobs:
        losses.append(Loss("journal", found.lost_blobs, "entries of the decision journal are damaged"))
    elif found.damaged and not found.blobs and found.mark.committed == 0 and segments:
        losses.append(Loss("journal", 1, "the log's state file is destroyed, with its decision journal"))
    elif found.damaged:
        notes.append("the log's state file was damaged and is repaired; what was delivered last may be sent again")
    if losses and not found.mark.committed:
        notes.append(f"reading begins at position {max(committed, first)}: some records may be sent again")
    if committed < first:
        if found.found and found.mark.committed:
            losses.append(Loss("missing", first - committed, f"records {committed} to {first - 1} are missing"))
        committed = first
    mark = replace(found.mark, committed=committed, end=end, time_ns=time_ns)
    files.release(directory)
    state = states.StateFile.begin(directory, replace(found, mark=mark), synchronous, room)
    state.commit(committed, end, time_ns)
    files.reserve(directory)
    return Recovered(state, segments, committed, end, time_ns, losses, notes)


def _segments(directory: Path, end: int) -> tuple[list[Segment], int, int]:
    """Segments of earlier lives, the position after the last record, and the stream time of the last one.

    `end` is the position that the state file knows of.
    """
    segments = [Segment(file, raw=file.wal.exists(), size=file.size()) for file in files.segments(directory)]
    time_ns = 0
    while segments:
        newest = segments[-1]
        with contextlib.closing(Salvage(newest.file)) as salvage:
            claimed = (number for kind, number in salvage.claimed if kind == Kind.RECORD)
            after = max(claimed, default=newest.base - 1) + 1
            # Whole records of a transaction whose end isn't to be seen: it may have been damaged.
            while (Kind.RECORD, after) in salvage:
                after += 1
            for number in range(after - 1, newest.base - 1, -1):
                with contextlib.suppress(DamagedError):
                    time_ns = salvage.row((Kind.RECORD, number)).time_ns
                    break
        if after > newest.base or newest.base < end:
            end = max(end, after)
            break
        # Its first transaction never ended.
        segments.pop()
        newest.file.unlink()
    for segment, following in itertools.pairwise(segments):
        segment.end = following.base
    return segments, end, time_ns
