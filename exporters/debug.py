"""The `debug` exporter: says in the log what passes through, for people who look for something."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Literal

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
            text = await asyncio.to_thread(_describe, batch.to_bytes(), batch.signal, self.config.verbosity)
            self.context.log.info("%s", text)
        return 0

    def _shown(self, second: int) -> bool:
        if second != self._second:
            self._second, self._seen = second, 0
        self._seen += 1
        over: int = self._seen - self.config.sampling_initial
        every: int = self.config.sampling_thereafter
        return over <= 0 or (every > 0 and over % every == 0)


def _describe(payload: bytes, signal: Signal, verbosity: str) -> str:
    request = orjson.loads(to_json(payload, signal.value))
    resources = request.get("resourceSpans", [])
    spans = list(_spans(request))
    lines = [f"Traces: resource spans {len(resources)}, spans {len(spans)}"]
    if verbosity == "normal":
        lines += [_line(span) for span in spans]
    elif verbosity == "detailed":
        lines.append(orjson.dumps(request, option=orjson.OPT_INDENT_2).decode())
    return "\n".join(lines)


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
