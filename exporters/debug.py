"""The `debug` exporter: says in the log what passes through, for people who look for something."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import orjson

from collector.api import BuildContext, Exporter, ExporterOptions, Signal, option, to_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from collector.api import Batch


class DebugOptions(ExporterOptions):
    """Options of `debug`."""

    verbosity: Literal["basic", "normal", "detailed"] = option(
        "basic", about="`basic` counts, `normal` gives a line a span, `detailed` all there is."
    )
    sampling_initial: int = option(2, about="Batches shown in each second before sampling begins.", ge=0)
    sampling_thereafter: int = option(1, about="After those, every n-th batch is shown; 0 shows none.", ge=0)


class DebugExporter(Exporter):
    """Writes batches to the log at level INFO. See `docs/components/debug.md`."""

    Config = DebugOptions
    signals = frozenset({Signal.TRACES})
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
    """What the index says; nothing is decoded for it. A resource without spans doesn't count."""
    resources = batch.index.resource if batch.mask is None else batch.index.resource[batch.mask]
    # Ordinals in payload order: each step to another value is one more resource.
    count = int(np.count_nonzero(np.diff(resources))) + 1 if len(resources) else 0
    return f"Traces: resource spans {count}, spans {len(resources)}"


def _describe(payload: bytes, signal: Signal, verbosity: str) -> str:
    request = orjson.loads(to_json(payload, signal.value))
    if verbosity == "normal":
        return "".join(f"\n{_line(span)}" for span in _spans(request))
    return "\n" + orjson.dumps(request, option=orjson.OPT_INDENT_2).decode()


def _spans(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for resource in request.get("resourceSpans", []):
        for scope in resource.get("scopeSpans", []):
            yield from scope.get("spans", [])


def _line(span: dict[str, Any]) -> str:
    """One span on one line: whatever it holds is quoted, so that it can't begin a line of its own."""
    took = (int(span.get("endTimeUnixNano", 0)) - int(span.get("startTimeUnixNano", 0))) / 1e6
    attributes = {each["key"]: each.get("value") for each in span.get("attributes", []) if "key" in each}
    name, detail = (orjson.dumps(each).decode() for each in (span.get("name", ""), attributes))
    return f"{name} {span.get('traceId', '')} {span.get('spanId', '')} {took:.3f}ms {detail}"
