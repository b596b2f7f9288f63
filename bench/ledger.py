"""What was sent and what became of it, and what arrived: the two ledgers that a comparison needs.

Trace and span ids are kept as columns of 64-bit words, so millions of spans fit and compare quickly.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import asdict, dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from bench.generator.clock import Clock, Moment
from bench.generator.log_records import LogShape
from bench.generator.metric_shape import MetricShape
from bench.generator.traces import Mix
from bench.generator.traffic import Shape, Traffic

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from bench.generator.identity import Words

RECORD = np.dtype([("high", ">u8"), ("low", ">u8"), ("span", ">u8"), ("at", "<i8")])
"""One span in a binary sink ledger: trace id and span id as they stand on the wire, and when it arrived (the
machine's monotonic clock, ns)."""


class Outcome(IntEnum):
    """What the sender was told. UNKNOWN: it was told nothing, or that its deadline passed, so the data may
    be in."""

    ACKED = 0
    REFUSED = 1
    UNKNOWN = 2


@dataclass(frozen=True, slots=True)
class SentSpans:
    """Every span that was sent, as columns. `high`, `low`: the trace id's halves. `outcome`: values of
    `Outcome`.

    `flags`: ERROR and BYZANTINE bits of the span itself. `start`, `end`: ns, comparable within a trace.
    `late`: sent after the sampler's wait on purpose, so no verdict may rest on it.
    """

    high: Words
    low: Words
    span: Words
    outcome: NDArray[np.uint8]
    flags: NDArray[np.uint8]
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    late: NDArray[np.bool_]
    at: NDArray[np.int64]
    """First sent at, by the machine's monotonic clock in ns; 0 when that isn't known."""

    def __len__(self) -> int:
        return len(self.span)


@dataclass(slots=True)
class SenderLedger:
    """Outcome of each request of a generator, named by its cycle (a round, for metrics) and its index in
    `Traffic.requests` (`.logs.requests`, `.metrics.requests`). With the clock, that is enough to make every byte of the
    run again."""

    shape: Shape
    outcomes: dict[tuple[int, int], tuple[Outcome, int]] = field(default_factory=dict)
    logs: dict[tuple[int, int], tuple[Outcome, int]] = field(default_factory=dict)
    reports: dict[tuple[int, int], tuple[Outcome, int, Moment]] = field(default_factory=dict)
    clock: Clock = field(default_factory=Clock)

    def note(self, cycle: int, request: int, outcome: Outcome, at: int = 0) -> None:
        """`at`: when the request was first sent, by the machine's monotonic clock in ns."""
        self.outcomes[cycle, request] = outcome, at

    def note_logs(self, cycle: int, request: int, outcome: Outcome, at: int = 0) -> None:
        self.logs[cycle, request] = outcome, at

    def note_report(self, moment: Moment, request: int, outcome: Outcome, at: int = 0) -> None:
        """Of metrics, made at that moment."""
        self.reports[moment.round, request] = outcome, at, moment

    def sent(self, traffic: Traffic) -> SentSpans:
        """The spans behind the noted requests; `traffic` is `Traffic(self.shape)`, which callers often
        have already."""
        parts = [
            (*traffic.ids(cycle, traffic.requests[request].rows), traffic.requests[request].rows, outcome, at)
            for (cycle, request), (outcome, at) in self.outcomes.items()
        ]
        rows = _joined((part[3] for part in parts), np.intp)
        return SentSpans(
            high=_joined((part[0] for part in parts), np.uint64),
            low=_joined((part[1] for part in parts), np.uint64),
            span=_joined((part[2] for part in parts), np.uint64),
            outcome=_joined((np.full(len(part[3]), part[4], np.uint8) for part in parts), np.uint8),
            flags=traffic.flags[rows],
            start=traffic.start[rows],
            end=traffic.end[rows],
            late=traffic.late[rows],
            at=_joined((np.full(len(part[3]), part[5], np.int64) for part in parts), np.int64),
        )

    def write(self, path: Path) -> None:
        """A header with the shape, then one `[cycle, request, outcome, first sent at]` a line for the traces; lines of
        the other signals and of the clock begin with a word."""
        with path.open("w") as out:
            out.write(json.dumps({"shape": asdict(self.shape)}) + "\n")
            out.writelines(f"{json.dumps(line, separators=(',', ':'))}\n" for line in self._lines())

    def _lines(self) -> Iterator[list[str | int]]:
        yield ["began", self.clock.began]
        for cycle, (started, lasts) in self.clock.cycles.items():
            yield ["cycle", cycle, started, lasts]
        for (cycle, request), (outcome, at) in self.outcomes.items():
            yield [cycle, request, int(outcome), at]
        for (cycle, request), (outcome, at) in self.logs.items():
            yield ["logs", cycle, request, int(outcome), at]
        for (number, request), (outcome, at, moment) in self.reports.items():
            yield ["metrics", number, request, int(outcome), at, moment.cycle, moment.index, moment.at]

    @classmethod
    def read(cls, path: Path) -> SenderLedger:
        """What `write` wrote. Raises `ValueError` when it is something else."""
        with path.open() as lines:
            header = json.loads(next(lines, "null"))
            if not isinstance(header, dict) or "shape" not in header:
                raise ValueError(f"{path} is not a sender ledger")
            ledger = cls(_shape(header["shape"]))
            for line in lines:
                ledger._take(json.loads(line))
        return ledger

    def _take(self, line: list[Any]) -> None:
        match line:
            case ["began", began]:
                self.clock.began = began
            case ["cycle", cycle, started, lasts]:
                self.clock.start(cycle, started, lasts)
            case ["logs", cycle, request, outcome, at]:
                self.note_logs(cycle, request, Outcome(outcome), at)
            case ["metrics", number, request, outcome, at, cycle, index, made]:
                self.note_report(Moment(number, cycle, index, made), request, Outcome(outcome), at)
            case [cycle, request, outcome, at]:
                self.note(cycle, request, Outcome(outcome), at)
            case _:
                raise ValueError(f"not a line of a sender ledger: {line}")


def _shape(options: dict[str, Any]) -> Shape:
    logs, metrics = options.get("logs"), options.get("metrics")
    return Shape(
        **{
            **options,
            "mix": Mix(**options["mix"]),
            "logs": LogShape(**logs) if logs else None,
            "metrics": MetricShape(**metrics) if metrics else None,
        }
    )


@dataclass(slots=True)
class SinkLedger:
    """Every copy of every span that arrived, in order of arrival. `at`: when, as in `SentSpans`; 0 when that
    isn't known. `torn`: unfinished last lines that were left out."""

    high: Words
    low: Words
    span: Words
    at: NDArray[np.int64]
    torn: int = 0

    def __len__(self) -> int:
        return len(self.span)

    @classmethod
    def of(cls, ids: Iterable[tuple[bytes, bytes]], *, torn: int = 0) -> SinkLedger:
        """From (trace id, span id) pairs of 16 and 8 bytes."""
        data = b"".join(trace + span for trace, span in ids)
        high, low, span = np.frombuffer(data, ">u8").reshape(-1, 3).T.astype(np.uint64)
        return cls(high, low, span, np.zeros(len(span), np.int64), torn)

    @classmethod
    def from_records(cls, path: Path) -> SinkLedger:
        """From the binary ledger of `bench.sink`; an unfinished last record is left out."""
        data = path.read_bytes()
        rows = np.frombuffer(data[: len(data) - len(data) % RECORD.itemsize], RECORD)
        high, low, span = (rows[name].astype(np.uint64) for name in ("high", "low", "span"))
        return cls(high, low, span, rows["at"].astype(np.int64))

    @classmethod
    def from_json_lines(cls, paths: Sequence[Path]) -> SinkLedger:
        """From what the file exporter writes: one OTLP/JSON request a line, `.gz` or not.

        Only a file's last line may be unfinished (its writer was killed); any other bad line raises
        `ValueError`.
        """
        ids: list[tuple[bytes, bytes]] = []
        torn = 0
        for path in paths:
            with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as lines:
                for line in lines:
                    if not line.strip():
                        continue
                    try:
                        request = orjson.loads(line)
                    except orjson.JSONDecodeError:
                        if line.endswith(b"\n"):
                            raise
                        torn += 1
                        continue
                    ids.extend(_ids(request))
        return cls.of(ids, torn=torn)


def _ids(request: dict[str, Any]) -> Iterator[tuple[bytes, bytes]]:
    for resource in request.get("resourceSpans", ()):
        for scope in resource.get("scopeSpans", ()):
            for span in scope.get("spans", ()):
                trace, own = bytes.fromhex(span["traceId"]), bytes.fromhex(span["spanId"])
                if len(trace) != 16 or len(own) != 8:
                    raise ValueError("a span with an id of the wrong length")
                yield trace, own


def _joined(parts: Iterable[NDArray[Any]], dtype: type[np.generic]) -> NDArray[Any]:
    columns = list(parts)
    return np.concatenate(columns).astype(dtype, copy=False) if columns else np.zeros(0, dtype)
