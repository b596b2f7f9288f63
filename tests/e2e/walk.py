"""From an exemplar to its trace, from the trace to its lines, from an error line to its trace: what the backends' own
query APIs say, against what the senders were told."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import inf
from typing import Any

from pillars import EVERYTHING, request_of
from traffic import Sending

from bench.generator.identity import looks_personal
from bench.ledger import Outcome
from bench.log_truth import sent_records, uid
from bench.otlp_items import LogItem
from bench.red_truth import red

WARN, ERROR = 13, 17
KINDS = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
STATUSES = {0: "UNSET", 1: "OK", 2: "ERROR"}
_UID = re.compile(r'log[._]record[._]uid": ?"([0-9a-f]{16})')
_AT_ONCE = 200

Place = tuple[str, str, str, str]
"""Service, span name, kind and status, as `span_metrics` writes them."""


@dataclass(frozen=True)
class Pointer:
    """An exemplar as Prometheus returns it: of which metric, and where it leads."""

    metric: str
    trace: str
    span: str
    request_id: str


class Sent:
    """What was acknowledged: `spans` by trace id, `records` of logs.

    `unheard` are traces with an error line that was not acknowledged `wait` seconds after the first of their spans was
    sent: an outage or a busy machine held it up, and it may come after their verdict.
    """

    def __init__(self, sendings: Iterable[Sending], wait: float) -> None:
        self._wait = wait
        self.spans: dict[str, set[str]] = defaultdict(set)
        self.records: list[LogItem] = []
        self.unheard: set[str] = set()
        self.calls: Counter[Place] = Counter()
        for sending in sendings:
            self._add(sending)

    def _add(self, sending: Sending) -> None:
        spans = sending.ledger.sent(sending.traffic)
        acked = spans.outcome == Outcome.ACKED
        columns = (spans.high[acked], spans.low[acked], spans.span[acked])
        for high, low, span in zip(*(column.tolist() for column in columns), strict=True):
            self.spans[f"{high:016x}{low:016x}"].add(f"{span:016x}")
        first: dict[str, float] = {}
        for high, low, at in zip(spans.high.tolist(), spans.low.tolist(), spans.at.tolist(), strict=True):
            trace = f"{high:016x}{low:016x}"
            first[trace] = min(first.get(trace, inf), at / 1e9)
        requests = sending.traffic.logs.requests
        settled = (
            sending.runner.settled["logs", cycle, request]
            for cycle, request in sending.ledger.logs
            for _ in range(len(requests[request]))
        )
        for at, (outcome, record) in zip(settled, sent_records(sending.ledger, sending.traffic), strict=True):
            if record.severity >= ERROR and at > first.get(trace_of(record), inf) + self._wait:
                self.unheard.add(trace_of(record))
            # Some ids pass for the numbers of cards or accounts, and the scrubber masks what a line is found by.
            if outcome is Outcome.ACKED and not looks_personal(uid(record)):
                self.records.append(record)
        for key, each in red(sending.ledger, sending.traffic).items():
            kind, status = f"SPAN_KIND_{KINDS[key.kind]}", f"STATUS_CODE_{STATUSES[key.status]}"
            self.calls[key.service, key.name, kind, status] += each.count


def trace_of(record: LogItem) -> str:
    """The trace that a record belongs to, whether it says so itself or in `traceparent`; empty for none."""
    return record.trace_id or str(record.attributes.get("traceparent", "--")).split("-")[1]


def names_request(record: LogItem) -> bool:
    """Whether its sender gave it a request id."""
    return "req-" in str(record.body) or any(str(each).startswith("req-") for each in record.attributes.values())


def pointers(prometheus: Any, until: float) -> list[Pointer]:
    """Every exemplar in Prometheus."""
    found = []
    for series, exemplars in prometheus.exemplars(EVERYTHING, until - 7200, until).items():
        for _, _, labels in exemplars:
            about = dict(labels)
            request_id = about.get("request_id") or about.get("butterfly_request_id", "")
            found.append(Pointer(dict(series)["__name__"], about["trace_id"], about["span_id"], request_id))
    return found


def spans_in(jaeger: Any, traces: Iterable[str]) -> dict[str, set[str]]:
    """The ids of the spans that Jaeger has of each of these traces; traces that it hasn't got are left out."""
    wanted = list(traces)
    with ThreadPoolExecutor(4) as pool:
        stored = pool.map(jaeger.stored, wanted)
        found = {
            trace: {s["spanId"] for each in resources for scope in each["scopeSpans"] for s in scope["spans"]}
            for trace, resources in zip(wanted, stored, strict=True)
        }
    return {trace: spans for trace, spans in found.items() if spans}


def lines_of(victoria_logs: Any, traces: Collection[str]) -> list[dict[str, str]]:
    """What a look-up by trace id finds."""
    wanted, found = sorted(traces), []
    for first in range(0, len(wanted), _AT_ONCE):
        found += victoria_logs.entries(f"trace_id:in({','.join(wanted[first : first + _AT_ONCE])})")
    return found


def uid_in(entry: dict[str, str]) -> str:
    """The record's id, which is a field of the line or beside it."""
    if "log_record_uid" in entry:
        return entry["log_record_uid"]
    found = _UID.search(entry["_msg"])
    return found[1] if found else ""


def assert_whole(kept: dict[str, set[str]], sent: Sent, traces: Iterable[str], why: str) -> None:
    """Jaeger has all acknowledged spans of these traces."""
    for trace in traces:
        assert trace in kept, f"{why}: trace {trace} isn't in Jaeger"
        missing = sent.spans[trace] - kept[trace]
        assert not missing, f"{why}: {len(missing)} of {len(sent.spans[trace])} spans of {trace} aren't in Jaeger"


def assert_exemplars_lead_to_traces(found: list[Pointer], kept: dict[str, set[str]], sent: Sent) -> None:
    """Each resolves to a whole trace, which has the very span."""
    assert_whole(kept, sent, {each.trace for each in found}, "an exemplar")
    astray = [each for each in found if each.span not in kept[each.trace]]
    assert not astray, f"{len(astray)} exemplars name a span that their trace hasn't got, among them {astray[0]}"


def assert_traces_lead_to_lines(traces: Collection[str], entries: list[dict[str, str]], sent: Sent) -> int:
    """Every acknowledged record of these traces is found by the trace's id, on its span; how many."""
    stored = {uid_in(each): each for each in entries}
    count = 0
    for record in sent.records:
        trace = trace_of(record)
        if trace not in traces:
            continue
        count += 1
        entry = stored.get(uid(record))
        assert entry is not None, f"a line of kept trace {trace} is missing: {record}"
        span = record.span_id or record.attributes["traceparent"].split("-")[2]
        assert (entry["trace_id"], entry["span_id"]) == (trace, span)
    return count


def assert_only_what_follows_its_trace(entries: list[dict[str, str]], kept: Collection[str], sent: Sent) -> int:
    """Of all that is stored: no mild line of a dropped trace, every other acknowledged one; how many were dropped."""
    stored = {uid_in(each) for each in entries}
    dropped = 0
    for record in sent.records:
        trace = trace_of(record)
        stays = not trace or trace in kept or record.severity >= WARN
        dropped += not stays
        assert (uid(record) in stored) is stays, f"{'missing' if stays else 'stored though dropped'}: {record}"
    return dropped


def without_request_id(entries: Iterable[dict[str, str]]) -> list[dict[str, str]]:
    """Lines of traces that don't say their request; none says another's. One id in 20,000 is masked."""
    found = []
    for each in entries:
        said, request = each.get("request_id", ""), request_of(each["trace_id"])
        masked = said in ("req-[card]", "req-[iban]") and looks_personal(request[4:])
        assert masked or said in ("", request), f"{said} and not {request}"
        if not said:
            found.append(each)
    return found


def calls_in(prometheus: Any, at: float) -> dict[Place, int]:
    """What Prometheus says that the spans were, over all who counted."""
    by = ("service_name", "span_name", "span_kind", "status_code")
    query = f"sum by ({','.join(by)}) (last_over_time(traces_span_metrics_calls_total[2h]))"
    return {
        tuple(each["metric"].get(label, "") for label in by): int(float(each["value"][1]))
        for each in prometheus.query(query, at)
    }
