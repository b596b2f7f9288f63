"""What every generated series must have come to, which exemplars it showed, and whether that is what arrived."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from bench.ledger import Outcome, SenderLedger
from bench.otlp_items import Distribution, ExemplarItem, PointItem, SeriesKey, Value, json_lines, json_points, points

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from bench.generator.clock import Moment
    from bench.generator.traffic import Traffic

DELTA = 1
_EXAMPLES = 5
_CLOSE = 1e-9


@dataclass(slots=True)
class Expected:
    """The last point of a series that was acknowledged; of a delta series, all that were, added up.

    `maybe`: numbers that the series may show instead, because a later report (or, of deltas, any) got no answer.
    `acked`: whether any report was acknowledged at all; without, the series need not be there.
    """

    point: PointItem
    value: Value
    acked: bool
    maybe: list[Value] = field(default_factory=list)


def sent_points(ledger: SenderLedger, traffic: Traffic) -> Iterator[tuple[Outcome, PointItem]]:
    """Every data point of the run, made again from the ledger: what its sender was told, and what it says."""
    for request, reports in _by_request(ledger).items():
        for outcome, payload in _payloads(ledger, traffic, request, reports):
            for point in points(payload):
                yield outcome, point


def sent_exemplars(
    ledger: SenderLedger, traffic: Traffic, outcome: Outcome = Outcome.ACKED
) -> dict[SeriesKey, set[ExemplarItem]]:
    """Every exemplar that each series showed in reports with that outcome."""
    found: dict[SeriesKey, set[ExemplarItem]] = {}
    for told, point in sent_points(ledger, traffic):
        if told is outcome and point.exemplars:
            found.setdefault(point.key, set()).update(point.exemplars)
    return found


def final_values(ledger: SenderLedger, traffic: Traffic) -> dict[SeriesKey, Expected]:
    """What each series must show once everything acknowledged has arrived."""
    series: dict[SeriesKey, Expected] = {}
    for request, reports in _by_request(ledger).items():
        if traffic.metrics is not None and not traffic.metrics.requests[request].has_deltas:
            acked = [number for number, (outcome, _) in enumerate(reports) if outcome is Outcome.ACKED]
            last = acked[-1] if acked else 0
            chosen = [each for each in reports[last:] if each[0] is not Outcome.REFUSED]
            for outcome, payload in _payloads(ledger, traffic, request, chosen):
                for point in points(payload):
                    _replace(series, outcome, point)
            continue
        for outcome, payload in _payloads(ledger, traffic, request, reports):
            for point in points(payload):
                if outcome is Outcome.REFUSED:
                    continue
                if point.temporality == DELTA:
                    _add(series, outcome, point)
                else:
                    _replace(series, outcome, point)
    return series


def _by_request(ledger: SenderLedger) -> dict[int, list[tuple[Outcome, Moment]]]:
    """The reports of each metrics request, in the order in which they were made."""
    found: dict[int, list[tuple[Outcome, Moment]]] = {}
    for (_, request), (outcome, _, moment) in sorted(ledger.reports.items()):
        found.setdefault(request, []).append((outcome, moment))
    return found


def _payloads(
    ledger: SenderLedger, traffic: Traffic, request: int, reports: list[tuple[Outcome, Moment]]
) -> Iterator[tuple[Outcome, ExportMetricsServiceRequest]]:
    if traffic.metrics is None:
        raise ValueError("this traffic has no metrics")
    before: Moment | None = None
    for outcome, moment in reports:
        payload = traffic.metrics.requests[request].encode(moment, before, ledger.clock)
        yield outcome, ExportMetricsServiceRequest.FromString(payload)
        before = moment


def _replace(series: dict[SeriesKey, Expected], outcome: Outcome, point: PointItem) -> None:
    known = series.get(point.key)
    if known is None or outcome is Outcome.ACKED:
        series[point.key] = Expected(point, point.value, outcome is Outcome.ACKED)
    else:
        known.maybe.append(point.value)


def _add(series: dict[SeriesKey, Expected], outcome: Outcome, point: PointItem) -> None:
    known = series.get(point.key)
    if known is None:
        series[point.key] = Expected(point, point.value, outcome is Outcome.ACKED)
    elif outcome is Outcome.ACKED and known.acked:
        known.maybe = [_sum(value, point.value) for value in known.maybe]
        known.point, known.value = point, _sum(known.value, point.value)
    elif outcome is Outcome.ACKED:
        known.maybe = [point.value, *(_sum(value, point.value) for value in (known.value, *known.maybe))]
        known.point, known.value, known.acked = point, known.maybe[0], True
    else:
        known.maybe += [_sum(value, point.value) for value in (known.value, *known.maybe)]


def _sum(one: Value, other: Value) -> Value:
    if isinstance(one, Distribution) and isinstance(other, Distribution):
        return one + other
    if isinstance(one, Distribution) or isinstance(other, Distribution):
        raise TypeError("a number and a distribution in one series")
    return one + other


def arrived_values(arrived: Iterable[PointItem]) -> dict[SeriesKey, Value]:
    """What each series shows after these points: the newest, or, of deltas, all of them once."""
    newest: dict[SeriesKey, PointItem] = {}
    deltas: dict[SeriesKey, dict[int, PointItem]] = {}
    for point in arrived:
        if point.temporality == DELTA:
            deltas.setdefault(point.key, {})[point.time] = point
        elif point.key not in newest or newest[point.key].time < point.time:
            newest[point.key] = point
    values = {key: point.value for key, point in newest.items()}
    for key, parts in deltas.items():
        each = [parts[time].value for time in sorted(parts)]
        total = each[0]
        for value in each[1:]:
            total = _sum(total, value)
        values[key] = total
    return values


def same(one: Value, other: Value) -> bool:
    """Equal; of sums of broken numbers, to nine digits, since addition rounds."""
    if isinstance(one, Distribution) and isinstance(other, Distribution):
        counted = (one.count, one.buckets, one.bounds, one.scale, one.zero_count, one.offset, one.quantiles)
        others = (
            other.count,
            other.buckets,
            other.bounds,
            other.scale,
            other.zero_count,
            other.offset,
            other.quantiles,
        )
        return counted == others and _near(one.sum, other.sum)
    if isinstance(one, Distribution) or isinstance(other, Distribution):
        return False
    return _near(one, other)


def _near(one: float, other: float) -> bool:
    return one == other or abs(one - other) <= _CLOSE * max(abs(one), abs(other))


@dataclass(slots=True)
class MetricReport:
    """What the comparison found, in series. `missing`: acknowledged, not there. `wrong`: shows another number.
    `extra`: sent by nobody. `examples`: some of them."""

    series: int = 0
    acked: int = 0
    arrived: int = 0
    missing: int = 0
    wrong: int = 0
    extra: int = 0
    examples: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        return not (self.missing or self.wrong or self.extra)

    def lines(self) -> list[str]:
        return [
            f"series: {self.series} sent, {self.acked} acked; {self.arrived} in the sink",
            f"{self.missing} missing, {self.wrong} with another value, {self.extra} extra",
            "everything holds" if self.holds else f"DOES NOT HOLD, see {'; '.join(self.examples)}",
        ]

    def note(self, key: SeriesKey, what: str) -> None:
        if len(self.examples) < _EXAMPLES:
            self.examples.append(f"{key.name} {dict(key.attributes)} {what}")


def compare_metrics(expected: dict[SeriesKey, Expected], arrived: dict[SeriesKey, Value]) -> MetricReport:
    """Hold what the series show against what they must."""
    report = MetricReport(series=len(expected), arrived=len(arrived))
    for key, wanted in expected.items():
        report.acked += wanted.acked
        if key not in arrived:
            report.missing += wanted.acked
            if wanted.acked:
                report.note(key, "is missing")
        elif not any(same(value, arrived[key]) for value in (wanted.value, *wanted.maybe)):
            report.wrong += 1
            report.note(key, f"is {arrived[key]}, not {wanted.value}")
    for key in arrived.keys() - expected.keys():
        report.extra += 1
        report.note(key, "was never sent")
    return report


def compare_metric_files(ledger: SenderLedger, traffic: Traffic, paths: Iterable[Path]) -> MetricReport:
    """The same for files of the file exporter."""
    arrived = (point for request in json_lines(paths) for point in json_points(request))
    return compare_metrics(final_values(ledger, traffic), arrived_values(arrived))
