"""The `debug` exporter: says in the log what passes through, for people who look for something."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Literal

import numpy as np
import orjson

from collector.api import BuildContext, Exporter, ExporterOptions, Signal, option, to_json
from exporters.debug_lines import LINES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from collector.api import Batch

_NAMES = {
    Signal.TRACES: ("Traces: resource spans", "spans"),
    Signal.METRICS: ("Metrics: resource metrics", "data points"),
    Signal.LOGS: ("Logs: resource logs", "log records"),
}


class DebugOptions(ExporterOptions):
    """Options of `debug`."""

    verbosity: Literal["basic", "normal", "detailed"] = option(
        "basic", about="`basic` counts, `normal` gives a line an item, `detailed` all there is."
    )
    sampling_initial: int = option(2, about="Batches shown in each second before sampling begins.", ge=0)
    sampling_thereafter: int = option(1, about="After those, every n-th batch is shown; 0 shows none.", ge=0)


class DebugExporter(Exporter):
    """Writes batches to the log at level INFO. See `docs/components/debug.md`."""

    Config = DebugOptions
    order = "fifo"

    def __init__(self, config: DebugOptions, context: BuildContext) -> None:
        super().__init__(config, context)
        self._second = -1
        self._seen = 0

    async def export(self, batch: Batch) -> int:
        """Say what the batch holds. Always succeeds."""
        if self._shown(int(time.monotonic())):
            text = _counts(batch)
            if self.config.verbosity != "basic":
                text += await asyncio.to_thread(_describe, batch.to_bytes(), batch.signal, self.config.verbosity)
            self.context.log.info("%s", text)
        return 0

    def _shown(self, second: int) -> bool:
        if second != self._second:
            self._second, self._seen = second, 0
        self._seen += 1
        over: int = self._seen - self.config.sampling_initial
        every: int = self.config.sampling_thereafter
        return over <= 0 or (every > 0 and over % every == 0)


def _counts(batch: Batch) -> str:
    """What the index says; nothing is decoded for it. What holds no items doesn't count."""
    resources, items = _NAMES[batch.signal]
    index = batch.index
    parts = [f"{resources} {_distinct(index.resource, batch.mask)}"]
    if batch.signal is Signal.METRICS:
        parts.append(f"metrics {_distinct(index.metric, batch.mask)}")
    return ", ".join([*parts, f"{items} {len(batch)}"])


def _distinct(ordinals: NDArray[np.uint32], mask: NDArray[np.bool_] | None) -> int:
    """How many there are. Ordinals are in payload order: each step to another value is one more."""
    chosen = ordinals if mask is None else ordinals[mask]
    return int(np.count_nonzero(np.diff(chosen))) + 1 if len(chosen) else 0


def _describe(payload: bytes, signal: Signal, verbosity: str) -> str:
    request = orjson.loads(to_json(payload, signal.value))
    if verbosity == "normal":
        return "".join(f"\n{line}" for line in LINES[signal](request))
    return "\n" + orjson.dumps(request, option=orjson.OPT_INDENT_2).decode()
