"""`LokiExporter`: log records to streams of Loki."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from collector.api import BuildContext, RejectedExportError, Signal, StagedExporter
from exporters.loki import checks
from exporters.loki.client import LokiClient
from exporters.loki.delivery import Delivery
from exporters.loki.encoder import ADJUSTMENTS, REFUSALS, Encoder
from exporters.loki.options import LokiOptions
from exporters.loki.staged import OtlpSource, PushSource, Staged
from exporters.loki.streams import Streams
from exporters.otlp.sender import DeniedError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from collector.api import Batch, Refusal

_SAY_AGAIN_S = 60.0


class LokiExporter(StagedExporter):
    """Loki out. See `docs/components/loki.md`. `clock` counts seconds, `wall` nanoseconds since 1970."""

    Config = LokiOptions
    signals = frozenset({Signal.LOGS})

    def __init__(
        self,
        config: LokiOptions,
        context: BuildContext,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], int] = time.time_ns,
    ) -> None:
        super().__init__(config, context)
        plan = config.plan
        self._wall = wall
        self._client = LokiClient(config)
        self._streams = Streams(config.limits.max_streams, config.limits.stream_idle_period / 1e9, clock)
        self._encoder = Encoder(plan, self._streams)
        self._delivery = Delivery(
            self._client.push, plan.limits, bisect_after_s=config.bisect_after / 1e9, clock=clock, wall=wall
        )
        self._clock = clock
        self._said = float("-inf")
        adjusted = context.meter.counter("butterfly_loki_adjusted_total")
        self._adjusted = [adjusted.labels(exporter=context.id, kind=kind) for kind in ADJUSTMENTS]
        context.meter.watch("butterfly_loki_streams", lambda: len(self._streams), exporter=context.id)

    @classmethod
    def problems(cls, config: Any) -> list[tuple[tuple[str | int, ...], str]]:
        """Options that can't work together, or that Loki would refuse."""
        return checks.problems(config)

    @classmethod
    def warnings(cls, config: Any) -> list[tuple[tuple[str | int, ...], str]]:
        """Secrets in the clear, labels without bounds, options that do nothing."""
        return checks.warnings(config)

    async def start(self) -> None:
        """Open the transport. Raises `ConfigError` when a TLS file can't be used."""
        await self._client.start()

    async def stop(self) -> None:
        """Close the transport."""
        await self._client.stop()

    def stage(self, batch: Batch) -> Staged:
        """Encode the request, and refuse what Loki surely would."""
        if self.config.format == "otlp":
            staged = Staged(OtlpSource(batch.payload, batch.index), len(batch))
        else:
            staged = self._encode(batch.payload)
        staged.cut(self.config.limits.max_push_size)
        return staged

    def _encode(self, payload: bytes) -> Staged:
        try:
            entries = self._encoder.encode(payload, self._wall())
        except ValueError as error:
            raise RejectedExportError(str(error)) from None
        for counter, times in zip(self._adjusted, entries.adjusted, strict=True):
            if times:
                counter.inc(times)
        staged = Staged(PushSource(entries), len(entries.refused))
        for number, reason in enumerate(REFUSALS[1:], start=1):
            staged.refuse(np.flatnonzero(entries.refused == number), reason)
        return staged

    async def send(self, staged: Staged) -> Sequence[Refusal]:
        """Push what is left of the request."""
        try:
            await self._delivery.send(staged)
        except DeniedError as error:
            self._say_denied(error.reason)
            raise
        return staged.refusals()

    def _say_denied(self, reason: str) -> None:
        now = self._clock()
        if now - self._said >= _SAY_AGAIN_S:
            self._said = now
            self.context.log.error(
                "%s: check endpoint, headers, tenant and credentials; the data is kept and tried again", reason
            )
