"""What Butterfly's nodes log: several records a request, on the nodes of its spans, and some that belong to none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from bench.generator.attributes import REQUEST_ID_KEY, Attributes, Value, personal_attribute
from bench.generator.measurements import fault_type
from bench.generator.traces import BYZANTINE, ERROR

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from bench.generator.catalogue import Category
    from bench.generator.traces import Mix, Span

Level = Literal["DEBUG", "INFO", "WARN", "ERROR"]
SEVERITIES: dict[Level, int] = {"DEBUG": 5, "INFO": 9, "WARN": 13, "ERROR": 17}
"""Severity numbers of OTLP."""

Form = Literal["json", "kvlist", "plain"]
"""How a record is shaped: its body is a JSON text, a map, or the message alone with the rest in attributes."""

Link = Literal["ids", "traceparent", "none"]
"""What ties a record to its span: the record's own ids, or merely the text of a W3C `traceparent` in an attribute."""


@dataclass(frozen=True, slots=True)
class LogShape:
    """`records` of one cycle at least: every error and every Byzantine fault has its own, whatever is asked for.
    `batch`: records a request. Shares: `plain` and `kvlist` forms (the others are JSON), `traceparent` only,
    `without_request` id though the span has one, `without_trace`."""

    records: int = 3_200
    batch: int = 100
    plain: float = 0.3
    kvlist: float = 0.2
    traceparent: float = 0.1
    without_request: float = 0.1
    without_trace: float = 0.08


@dataclass(slots=True)
class Record:
    """One log record. `span`: ordinal, -1 for none; `trace`: the trace it belongs to, or merely takes its time from.
    `time`: ns, relative to the end of that trace. `observed`: ns later. `request`: whether it names the request."""

    node: int
    category: Category
    trace: int
    span: int
    time: int
    observed: int
    level: Level
    message: str
    fields: Attributes
    form: Form
    link: Link
    request: bool


_DONE: dict[Category, tuple[str, ...]] = {
    "request": ("{name} finished: the client has its answer", "{name} took its place in the pipeline"),
    "consensus": ("{name} reached a quorum of its peers", "{name} appended to the replicated log"),
    "computation": ("{name} finished on its device", "{name} left its result in device memory"),
    "communication": ("{name} moved its tensor to the peer", "{name} closed its stream in good order"),
    "resource": ("{name} was granted by the resource pool", "{name} returned what it had held"),
    "checkpoint": ("{name} wrote and synced its shard", "{name} compared digests, all of them equal"),
    "coordination": ("{name} settled who does what next", "{name} handed the task on"),
    "byzantine": ("{name} recomputed a peer's result, it agrees", "{name} updated what it thinks of its peer"),
}
_STEPS = ("{name}: entered, waiting for its turn", "{name}: halfway, state is consistent", "{name}: retried a lookup")
_IDLE: tuple[tuple[Category, Level, str], ...] = (
    ("resource", "INFO", "sampled devices and memory, all within limits"),
    ("consensus", "DEBUG", "heartbeat answered by every follower"),
    ("communication", "DEBUG", "connection pool trimmed, idle streams closed"),
    ("checkpoint", "INFO", "retention pass removed superseded checkpoints"),
    ("coordination", "INFO", "membership unchanged since the last round"),
    ("resource", "WARN", "device temperature close to its limit, clocks lowered"),
)
_FILES: dict[Category, str] = {
    "request": "inference/src/frontend.rs",
    "consensus": "consensus/src/raft/leader.rs",
    "computation": "runtime/src/executor/layer.rs",
    "communication": "transport/src/quic/stream.rs",
    "resource": "resources/src/pool.rs",
    "checkpoint": "checkpoint/src/writer.rs",
    "coordination": "coordinator/src/scheduler.rs",
    "byzantine": "verification/src/recompute.rs",
}


def records_of(spans: Sequence[Span], shape: LogShape, mix: Mix, random: Random) -> list[Record]:
    """The records of one cycle, trace by trace."""
    records = []
    for span in spans:
        if span.flags & ERROR:
            records.append(_about(span, "ERROR", f"{span.entry.name} failed: {span.message}", 1.0, random))
        if span.flags & BYZANTINE:
            text = f"{span.entry.name}: node-{span.node:03d} suspects a Byzantine fault ({fault_type(span)})"
            records.append(_about(span, "WARN", text, 1.0, random))
    left = max(0, shape.records - len(records))
    alone = round(left * shape.without_trace)
    for span in random.choices(spans, k=left - alone):
        if random.random() < 0.4:
            records.append(_about(span, "DEBUG", random.choice(_STEPS), random.random(), random))
        else:
            records.append(_about(span, "INFO", random.choice(_DONE[span.entry.category]), 1.0, random))
    records.extend(_alone(span, random) for span in random.choices(spans, k=alone))
    for record in records:
        _dress(record, shape, mix, random)
    records.sort(key=lambda record: (record.trace, record.time))
    return records


def _about(span: Span, level: Level, message: str, share: float, random: Random) -> Record:
    """A record of a span, at that share of its duration."""
    fields: Attributes = {key: value for key, value in span.attributes.items() if key != REQUEST_ID_KEY}
    fields["elapsed_ms"] = round((span.end - span.start) * share / 1e6, 3)
    if level == "ERROR":
        fields.setdefault("error.type", "_OTHER")
        fields["error.chain"] = f"{span.message}; caused by: {span.entry.name} on node-{span.node:03d} gave up"
    if span.flags & BYZANTINE and level == "WARN":
        fields["butterfly.byzantine.fault_type"] = fault_type(span)
    at = span.start + int((span.end - span.start) * share)
    message = message.format(name=span.entry.name) if level in {"DEBUG", "INFO"} else message
    return _record(
        span, span.ordinal, span.entry.category, at, level=level, message=message, fields=fields, random=random
    )


def _alone(span: Span, random: Random) -> Record:
    """A record of that span's node, and of no request."""
    category, level, message = random.choice(_IDLE)
    fields: Attributes = {
        "uptime_s": random.randrange(10**3, 10**6),
        "butterfly.cluster.epoch": random.randrange(1, 500),
        "butterfly.resource.bytes": random.randrange(10**8, 10**11),
        "butterfly.resource.share": round(random.random(), 4),
        "pool": random.choice(("inference-a100", "inference-h100", "verification")),
    }
    return _record(span, -1, category, span.end, level=level, message=message, fields=fields, random=random)


def _record(
    span: Span,
    ordinal: int,
    category: Category,
    at: int,
    *,
    level: Level,
    message: str,
    fields: Attributes,
    random: Random,
) -> Record:
    fields["caller"] = f"{_FILES[category]}:{random.randrange(40, 900)}"
    return Record(
        node=span.node,
        category=category,
        trace=span.trace,
        span=ordinal,
        time=at,
        observed=random.randrange(10**5, 4 * 10**7),
        level=level,
        message=message,
        fields=fields,
        form="json",
        link="ids" if ordinal >= 0 else "none",
        request=ordinal >= 0,
    )


def _dress(record: Record, shape: LogShape, mix: Mix, random: Random) -> None:
    """Form, link, and what may be missing."""
    draw = random.random()
    if draw < shape.plain + shape.kvlist:
        record.form = "plain" if draw < shape.plain else "kvlist"
    if record.span >= 0:
        record.link = "traceparent" if random.random() < shape.traceparent else "ids"
        record.request = random.random() >= shape.without_request
    personal: dict[str, Value] = {key: value for key, value in record.fields.items() if key in _PERSONAL}
    if not personal and random.random() < mix.personal / 2:
        record.fields |= personal_attribute(random)


_PERSONAL = {"user.email", "user.id", "client.address", "enduser.id", "gen_ai.prompt"}
