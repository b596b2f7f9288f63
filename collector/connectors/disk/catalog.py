"""Which segments there are, and how large they are. The event loop's."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from collector.connectors.disk.segments import Segment


class Catalog:
    """The segments in order of position. The last one may still be written: its `end` is None then."""

    def __init__(self, segments: Iterable[Segment] = ()) -> None:
        self._segments = list(segments)
        self._full_bytes = sum(segment.size for segment in self._segments[:-1])
        self._doomed_bytes = 0

    @property
    def newest(self) -> Segment | None:
        """The segment that holds the log's last record."""
        return self._segments[-1] if self._segments else None

    @property
    def bytes(self) -> int:
        """Bytes on disk, those included that are being deleted."""
        return self._full_bytes + self._doomed_bytes + (self._segments[-1].size if self._segments else 0)

    def add(self, opened: Sequence[Segment]) -> None:
        """New segments at the end of the log."""
        for segment in opened:
            newest = self.newest
            if newest is not None:
                newest.end = segment.base
                self._full_bytes += newest.size
            self._segments.append(segment)

    def resized(self, segment: Segment, size: int) -> None:
        """A full segment has become smaller or larger. Nothing, when it has been taken out meanwhile."""
        if segment in self._segments[:-1]:
            self._full_bytes += size - segment.size
            segment.size = size

    def covering(self, position: int, stop: int) -> list[Segment]:
        """The segments that hold positions from `position` to before `stop`."""
        first = max(bisect_right(self._segments, position, key=lambda segment: segment.base) - 1, 0)
        after = bisect_right(self._segments, stop - 1, key=lambda segment: segment.base)
        return [segment for segment in self._segments[first:after] if segment.end is None or segment.end > position]

    def take_settled(self, committed: int) -> list[Segment]:
        """Take out what lies wholly before `committed`, for deletion; call `deleted` for each afterwards."""
        settled: list[Segment] = []
        for segment in self._segments:
            if segment.end is None or segment.end > committed:
                break
            settled.append(segment)
        for segment in settled:
            if len(self._segments) > 1:
                self._full_bytes -= segment.size
            self._doomed_bytes += segment.size
            del self._segments[0]
        return settled

    def deleted(self, segment: Segment) -> None:
        """Its bytes are free."""
        self._doomed_bytes -= segment.size

    def cold(self, keep: int) -> list[Segment]:
        """Full segments whose writing connection is still open, but for the `keep` newest of them."""
        warm = [segment for segment in self._segments[:-1] if segment.writer is not None]
        return warm[: len(warm) - keep] if len(warm) > keep else []
