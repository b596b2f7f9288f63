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
    from collections.abc import Callable, Collection
    from pathlib import Path

    from collector.connectors.disk.files import Synchronous
    from collector.connectors.disk.state import StateFile


@dataclass(frozen=True, slots=True)
class Loss:
    """Something that `reader` should have and hasn't. `reason` is the metric's label, `sentence` is for the log."""

    reader: str
    reason: str
    count: int
    sentence: str


@dataclass(frozen=True, slots=True)
class RecoveredReader:
    """Where one reader is. `wanted` says that the configuration names it."""

    name: str
    wanted: bool
    state: StateFile
    committed: int


@dataclass(frozen=True, slots=True)
class Recovered:
    """The log as it stands when it is opened. `segments` hold positions without a gap up to `end`."""

    readers: list[RecoveredReader]
    segments: list[Segment]
    end: int
    time_ns: int
    losses: list[Loss]
    notes: list[str]


def recover(
    directory: Path, wanted: Collection[str], synchronous: Synchronous, room: int, wall_ns: Callable[[], int]
) -> Recovered:
    """Put the log together for the readers `wanted`, by name, and those that have read it; `room` as for
    `StateFile.begin`. A reader that is new begins at the oldest record that is kept.

    Raises `OSError`, `sqlite3.Error`, `StorageError`; then nothing was lost by trying.
    """
    known = {name: states.recover(directory / name) for name in files.readers(directory)}
    marks = [found.mark for found in known.values()]
    segments, end, time_ns = _segments(directory, max((mark.end for mark in marks), default=0))
    end = max([end, 0, *(mark.committed for mark in marks)])
    if segments:
        segments[-1].end = end
    time_ns = max([time_ns, *(mark.time_ns for mark in marks)]) or wall_ns()
    first = segments[0].base if segments else end
    losses: list[Loss] = []
    notes: list[str] = []
    readers: list[RecoveredReader] = []
    try:
        for name in dict.fromkeys([*wanted, *known]):
            found = known.get(name)
            if found is None:
                with files.new_reader(directory, name, synchronous) as draft:
                    states.StateFile.begin(draft, states.nothing(first, end, time_ns), synchronous, room).close()
                found = states.recover(directory / name)
            elif name in wanted:
                lost, noted = _examine(name, found, first, any_records=bool(segments))
                losses += lost
                notes += noted
            mark = replace(found.mark, committed=max(found.mark.committed, first), end=end, time_ns=time_ns)
            files.release(directory / name)
            state = states.StateFile.begin(directory / name, replace(found, mark=mark), synchronous, room)
            state.commit(mark.committed, end, time_ns)
            files.reserve(directory / name)
            readers.append(RecoveredReader(name, name in wanted, state, mark.committed))
    except BaseException:
        for reader in readers:
            reader.state.close()
        raise
    return Recovered(readers, segments, end, time_ns, losses, notes)


def _examine(name: str, found: states.Recovered, first: int, *, any_records: bool) -> tuple[list[Loss], list[str]]:
    """What a reader has lost, and what is worth knowing of it."""
    losses: list[Loss] = []
    notes: list[str] = []
    committed = found.mark.committed
    loss = None
    if any_records and not found.found:
        loss = 1, f"the state file of {name} is missing, with its decision journal"
    elif found.lost_blobs:
        loss = found.lost_blobs, f"entries of the decision journal of {name} are damaged"
    elif found.damaged and not found.blobs and committed == 0 and any_records:
        loss = 1, f"the state file of {name} is destroyed, with its decision journal"
    elif found.damaged:
        notes.append(f"the state file of {name} was damaged and is repaired; what was delivered last may be sent again")
    if loss is not None:
        losses.append(Loss(name, "journal", *loss))
        if not committed:
            notes.append(f"{name} begins at position {first}: some records may be sent again")
    if committed < first and found.found and committed:
        sentence = f"records {committed} to {first - 1} are missing, which {name} had not settled"
        losses.append(Loss(name, "missing", first - committed, sentence))
    return losses, notes


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
