"""What the generated logs said, record by record, and whether all of it arrived as it was sent."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from bench.generator.logs import UID_KEY
from bench.ledger import Outcome, SenderLedger
from bench.otlp_items import LogItem, json_lines, json_records, records

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from bench.generator.traffic import Traffic

Arrived = TypeVar("Arrived")
_EXAMPLES = 5


def sent_records(ledger: SenderLedger, traffic: Traffic) -> Iterator[tuple[Outcome, LogItem]]:
    """Every record of the run, made again from the ledger: what its sender was told, and what it says."""
    if traffic.logs is None:
        raise ValueError("this traffic has no logs")
    for (cycle, request), (outcome, _) in ledger.logs.items():
        payload = traffic.logs.requests[request].encode(cycle, ledger.clock)
        for item in records(ExportLogsServiceRequest.FromString(payload)):
            yield outcome, item


def uid(item: LogItem) -> str:
    """The id by which a record is known wherever it ends up."""
    return str(item.attributes.get(UID_KEY, ""))


@dataclass(slots=True)
class LogReport:
    """What the comparison found, in records. `acked_lost`: acknowledged, not there. `altered`: there, and not as sent.
    `extra`: there, and sent by nobody. `duplicates`: further copies. `examples`: ids of some that were lost or altered.
    """

    sent: int = 0
    acked: int = 0
    arrived: int = 0
    acked_lost: int = 0
    altered: int = 0
    extra: int = 0
    duplicates: int = 0
    refused_delivered: int = 0
    examples: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        return not (self.acked_lost or self.altered or self.extra)

    def lines(self) -> list[str]:
        verdict = "everything holds" if self.holds else f"DOES NOT HOLD, see records {', '.join(self.examples)}"
        return [
            f"records: {self.sent} sent, {self.acked} acked; {self.arrived} in the sink, {self.duplicates} duplicates",
            f"{self.acked_lost} acked records lost, {self.altered} altered, {self.extra} extra",
            f"refused but delivered {self.refused_delivered}",
            verdict,
        ]


def compare_logs(
    sent: Iterable[tuple[Outcome, LogItem]],
    arrived: Iterable[tuple[str, Arrived]],
    equal: Callable[[LogItem, Arrived], bool],
) -> LogReport:
    """Hold what arrived, by record id, against what was sent. `equal`: whether a record is as it was sent."""
    report = LogReport()
    copies: dict[str, list[Arrived]] = {}
    for key, found in arrived:
        copies.setdefault(key, []).append(found)
    for outcome, item in sent:
        key = uid(item)
        report.sent += 1
        report.acked += outcome is Outcome.ACKED
        there = copies.pop(key, [])
        wrong = False
        if there:
            report.arrived += 1
            report.duplicates += len(there) - 1
            report.refused_delivered += outcome is Outcome.REFUSED
            wrong = not all(equal(item, each) for each in there)
            report.altered += wrong
        elif outcome is Outcome.ACKED:
            report.acked_lost += 1
            wrong = True
        if wrong and len(report.examples) < _EXAMPLES:
            report.examples.append(key)
    report.extra = sum(len(there) for there in copies.values())
    report.arrived += len(copies)
    report.examples += list(copies)[: _EXAMPLES - len(report.examples)]
    return report


def compare_log_files(ledger: SenderLedger, traffic: Traffic, paths: Iterable[Path]) -> LogReport:
    """The same for files of the file exporter: every record must be there, equal in everything."""
    arrived = ((uid(item), item) for request in json_lines(paths) for item in json_records(request))
    return compare_logs(sent_records(ledger, traffic), arrived, lambda sent, found: sent == found)
