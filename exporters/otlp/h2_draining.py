"""A backend that goes away: what it still answers is heard, what it didn't look at goes elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from h2.connection import H2Connection
from h2.events import ConnectionTerminated

from collector.api import RetryableExportError

if TYPE_CHECKING:
    from h2.events import Event
    from hyperframe.frame import Frame, GoAwayFrame


class NotTakenError(RetryableExportError):
    """The connection ended before the backend looked at the request: another one may have it at once."""


class DrainingH2(H2Connection):
    """`h2` takes GOAWAY for the end of a connection, and whatever follows for a fault of the peer. Here the event tells
    of it and the streams up to `last_stream_id` go on, as RFC 9113, section 6.8, has it.
    """

    def _receive_goaway_frame(self, frame: GoAwayFrame) -> tuple[list[Frame], list[Event]]:
        event = ConnectionTerminated()
        event.last_stream_id = frame.last_stream_id
        return [], [event]
