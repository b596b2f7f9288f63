"""Where receivers deliver: from any thread into the event loop, many small requests joined into one batch."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from collector.ack import Ack, Outcome
from collector.batch import ANONYMOUS, Batch, Context, Signal

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from collector.component.processor import Admitting
    from collector.graph.admission import Admission
    from collector.graph.direct import DirectPipeline

    OnDone = Callable[[Outcome, str, int], None]

MERGE_BYTES = 1 << 20
"""Requests are joined up to this size: fewer, larger batches make every later step cheaper."""


class Permit:
    """Room for one request; see `collector.component.receiver.Permit`."""

    __slots__ = ("_intake", "_size")

    def __init__(self, intake: PipelineIntake, size: int) -> None:
        self._intake = intake
        self._size = size

    def grow(self, size: int) -> None:
        self._intake.admission.enter(size)
        self._size += size

    def submit(self, payload: bytes, *, count: int, on_done: OnDone, context: Context = ANONYMOUS) -> None:
        size, self._size = self._size, 0
        self._intake.put(_Request(payload, count, context, on_done, size))

    def release(self) -> None:
        size, self._size = self._size, 0
        self._intake.admission.leave(size)


class _Request:
    __slots__ = ("context", "count", "on_done", "payload", "size")

    def __init__(self, payload: bytes, count: int, context: Context, on_done: OnDone, size: int) -> None:
        self.payload = payload
        self.count = count
        self.context = context
        self.on_done = on_done
        self.size = size


class PipelineIntake:
    """The `Intake` of one receiver and one signal, in front of every pipeline that names the receiver."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        admission: Admission,
        signal: Signal,
        pipelines: Sequence[DirectPipeline],
    ) -> None:
        self.admission = admission
        self._loop = loop
        self._signal = signal
        self._pipelines = tuple(pipelines)
        self._guards: tuple[Admitting, ...] = tuple(guard for line in pipelines for guard in line.guards)
        self._waiting: deque[_Request] = deque()
        self._scheduled = False

    def admit(self, size: int) -> Permit:
        self.admission.enter(size, self._guards)
        return Permit(self, size)

    def put(self, request: _Request) -> None:
        """Called by permits, on any thread."""
        self._waiting.append(request)
        if not self._scheduled:
            # One wake-up for everything that arrives until the loop gets to it. `_deliver` clears the flag before it
            # empties the queue, so a request that comes in between is either taken or schedules again.
            self._scheduled = True
            self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        self._scheduled = False
        group: list[_Request] = []
        size = 0
        while self._waiting:
            request = self._waiting.popleft()
            if group and (request.context != group[0].context or size + len(request.payload) > MERGE_BYTES):
                self._push(group)
                group, size = [], 0
            group.append(request)
            size += len(request.payload)
        if group:
            self._push(group)

    def _push(self, group: list[_Request]) -> None:
        admission = self.admission

        def answered(outcome: Outcome, reason: str, refused: int | None) -> None:
            for request in group:
                admission.leave(request.size)
                # Whose items they are isn't known of requests that were joined: each is told the most it can be.
                request.on_done(outcome, reason, request.count if refused is None else min(refused, request.count))

        payload = group[0].payload if len(group) == 1 else b"".join([request.payload for request in group])
        batch = Batch(
            payload,
            Ack.counted(answered),
            signal=self._signal,
            context=group[0].context,
            count=sum(request.count for request in group),
        )
        if len(self._pipelines) == 1:
            self._pipelines[0].accept(batch)
        else:
            for pipeline, copy in zip(self._pipelines, batch.fan_out(len(self._pipelines)), strict=True):
                pipeline.accept(copy)
