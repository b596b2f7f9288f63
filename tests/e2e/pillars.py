"""The gateway of configs/gateway.yaml between senders that keep what they sent and real backends of all signals."""

from __future__ import annotations

import json
import logging
import math
import threading
import time
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml
from expected_entries import Entry, expected_entries, ordered, stored_entries
from expected_samples import exemplars_in, expected, stored_in
from gateway_process import ROOT, Gateway
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from bench.generator.log_records import LogShape
from bench.generator.metric_shape import MetricShape
from bench.generator.runner import Pace, Runner, Tally
from bench.generator.signals import SIGNALS, Signal
from bench.generator.traces import Mix
from bench.generator.traffic import Shape, Traffic
from bench.generator.transport import Answer, Transport, connect
from collector.api import BuildContext, from_json
from collector.options import parse_duration
from processors.pii_scrubber import PiiScrubber
from tests.servers.process import free_ports

EVERYTHING = '{__name__=~".+"}'
SENDERS = 3
PEPPER = "00112233445566778899aabbccddeeff"


class Remembering:
    """A transport that keeps every request, with what its sender was told in the end, and when it was first sent and
    acknowledged."""

    def __init__(
        self,
        inner: Transport,
        told: dict[tuple[Signal, bytes], list[Answer]],
        sent: dict[tuple[Signal, bytes], float],
        acked: dict[tuple[Signal, bytes], float],
    ) -> None:
        self._inner, self._told, self._sent, self._acked = inner, told, sent, acked

    def send(self, payload: bytes, done: Callable[[Answer], None], signal: Signal = "traces") -> None:
        def answered(answer: Answer) -> None:
            self._told[signal, payload].append(answer)
            if answer.verdict == "ok":
                self._acked.setdefault((signal, payload), time.monotonic())
            done(answer)

        self._told[signal, payload]
        self._sent.setdefault((signal, payload), time.monotonic())
        self._inner.send(payload, answered, signal)

    def close(self) -> None:
        self._inner.close()


class Traffics:
    """Butterfly's metrics, logs and traces on their way in the background; `join` ends it."""

    def __init__(
        self, gateway: Gateway, *, seed: int, temporality: str = "cumulative", signals: Any = SIGNALS, **pace: Any
    ) -> None:
        shape = Shape(
            seed=seed,
            senders=SENDERS,
            batch=50,
            spans=1200,
            mix=Mix(),
            logs=LogShape(records=400, batch=50),
            metrics=MetricShape(series=600, batch=200, temporality=temporality),
        )
        self.traffic = Traffic(shape)
        self.told: dict[tuple[Signal, bytes], list[Answer]] = defaultdict(list)
        self._sent_at: dict[tuple[Signal, bytes], float] = {}
        self._acked_at: dict[tuple[Signal, bytes], float] = {}
        # So many spans' worth and not so many seconds: a busy machine must not cut it short.
        pace = {"rate": 800, "points": 1200, "spans": 1600, "duration": 60.0, "retry_for": 30.0, "drain": 30.0} | pace
        inner = connect("grpc", gateway.grpc, SENDERS, timeout=10.0, in_flight=4)
        transports = [Remembering(each, self.told, self._sent_at, self._acked_at) for each in inner]
        self.runner = Runner(self.traffic, transports, Pace(**pace), signals=signals)
        self.tally: Tally | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self.tally = self.runner.run()

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def join(self, within: float = 90.0) -> Tally:
        self._thread.join(within)
        assert not self.running, "the generator did not end"
        assert self.tally is not None
        return self.tally

    def acked(self, signal: Signal) -> list[bytes]:
        """Payloads that were acknowledged, in the order in which they were first sent."""
        return [p for (s, p), told in self.told.items() if s == signal and any(each.verdict == "ok" for each in told)]

    def sent(self, signal: Signal) -> list[bytes]:
        """All payloads, whatever became of them."""
        return [p for s, p in self.told if s == signal]

    def late(self, wait: float) -> set[tuple[str, str]]:
        """Spans that were not acknowledged `wait` seconds after the first of their trace was sent: an outage or a busy
        machine held them up, and they may come after the verdict. They change none, and follow it."""
        spans = {payload: traces_of([payload]) for payload in self.sent("traces")}
        first: dict[str, float] = {}
        for payload, traces in spans.items():
            for trace in traces:
                first[trace] = min(first.get(trace, math.inf), self._sent_at["traces", payload])
        return {
            (trace, span)
            for payload, traces in spans.items()
            for trace, those in traces.items()
            for span in those
            if self._acked_at.get(("traces", payload), math.inf) > first[trace] + wait
        }


def three_pillars(
    folder: Path,
    prometheus: int,
    victoria_logs: int,
    jaeger: int,
    *,
    decision_wait: str = "500ms",
    change: Callable[[dict[str, Any]], None] | None = None,
    whole: bool = False,
) -> Gateway:
    """configs/gateway.yaml on free ports, its files in `folder`, its backends on those ports, changed by `change`.

    Unless it is `whole`, all log records go on and no metrics are made of spans: what is stored is what was sent.
    """
    config = yaml.safe_load((ROOT / "configs" / "gateway.yaml").read_text())
    grpc, http, admin = (f"127.0.0.1:{port}" for port in free_ports(3))
    config["receivers"]["otlp"]["protocols"] = {"grpc": {"endpoint": grpc}, "http": {"endpoint": http}}
    config["processors"]["pii_scrubber"] |= {"pepper": PEPPER, "ephemeral_pepper": False}
    config["processors"]["tail_sampling"]["decision_wait"] = decision_wait
    config["exporters"]["jaeger"]["endpoint"] = f"127.0.0.1:{jaeger}"
    config["exporters"]["prometheus_remote_write"]["endpoint"] = f"http://127.0.0.1:{prometheus}/api/v1/write"
    config["exporters"]["loki"]["endpoint"] = f"http://127.0.0.1:{victoria_logs}/insert"
    for exporter in config["exporters"].values():
        exporter["retry_on_failure"] = {"initial_interval": "100ms", "max_interval": "500ms"}
    config["service"]["data_dir"] = str(folder / "data")
    config["service"]["telemetry"] = {"metrics": {"address": admin}}
    if not whole:
        config["processors"]["log_sampling"]["keep_severity"] = "TRACE"
        del config["connectors"]["span_metrics"]
        del config["service"]["pipelines"]["traces/count"], config["service"]["pipelines"]["metrics/spans"]
    if change:
        change(config)
    return Gateway(config, folder)


def decision_wait_of(gateway: Gateway) -> float:
    """In seconds."""
    return parse_duration(gateway.config["processors"]["tail_sampling"]["decision_wait"]) / 1e9


def scrubbed(gateway: Gateway, signal: Signal, payloads: Iterable[bytes]) -> list[bytes]:
    """The payloads as the gateway's scrubber leaves them."""
    options = PiiScrubber.Config.model_validate(gateway.config["processors"]["pii_scrubber"])
    scrubber = PiiScrubber(options, BuildContext("pii_scrubber", logging.getLogger("test"))).make()
    return [scrubber.scrub(signal, payload) or payload for payload in payloads]


def post(gateway: Gateway, signal: Signal, payload: bytes) -> bytes:
    """Send one request over HTTP; the reply's body. Raises `urllib.error.HTTPError`."""
    headers = {"content-type": "application/x-protobuf"}
    request = urllib.request.Request(f"http://{gateway.http}/v1/{signal}", payload, headers)
    with urllib.request.urlopen(request, timeout=10) as reply:
        return reply.read()


def assert_samples(prometheus: Any, payloads: Iterable[bytes], until: float, selector: str = EVERYTHING) -> int:
    """Exactly these metrics are what `selector` finds, every value, bucket and label; how many samples that is."""
    wanted, found = expected(payloads), stored_in(prometheus, selector, until)
    assert wanted.samples
    compare(wanted.samples, found.samples)
    compare(wanted.histograms, found.histograms)
    assert wanted.targets == found.targets
    return sum(map(len, found.samples.values())) + sum(map(len, found.histograms.values()))


def assert_exemplars(prometheus: Any, payloads: Iterable[bytes], kept: Collection[str], until: float) -> int:
    """All exemplars in Prometheus were sent for that very series and name a kept trace, and none of those is missing
    that are the last of their series; how many."""
    wanted = expected(payloads).exemplars
    found = exemplars_in(prometheus, EVERYTHING, until - 3600, until)
    for key, each in found.items():
        assert {about["trace_id"] for *_, about in map(named, each)} <= set(kept), f"exemplars of {key} lead nowhere"
        assert plain_exemplars(each) <= plain_exemplars(wanted[key]), f"exemplars of {key} that nobody sent"
    for key, each in wanted.items():
        last = max(each)
        if dict(last[2])["trace_id"] in kept:
            assert plain_exemplars([last]) <= plain_exemplars(found.get(key, ())), f"the last of {key} is missing"
    return sum(map(len, found.values()))


def named(exemplar: tuple[int, float, Any]) -> tuple[int, float, dict[str, str]]:
    return exemplar[0], exemplar[1], dict(exemplar[2])


def plain_exemplars(exemplars: Iterable[Any]) -> set[Any]:
    """Without the request id that `correlation` adds, which is never another than the trace's own."""
    plain = set()
    for at, value, about in map(named, exemplars):
        added = about.pop("request_id", None)
        assert added in (None, request_of(about["trace_id"]))
        plain.add((at, value, tuple(sorted(about.items()))))
    return plain


def request_of(trace_id: str) -> str:
    """The request id that the generator gives a trace."""
    return f"req-{trace_id[-16:]}"


def compare(wanted: dict[Any, Any], found: dict[Any, Any]) -> None:
    """Equal, or the first difference that a reader can use."""
    missing, extra = wanted.keys() - found.keys(), found.keys() - wanted.keys()
    assert not missing, f"{len(missing)} of {len(wanted)} are missing, among them {min(missing)}"
    assert not extra, f"{len(extra)} are there that nobody sent, among them {min(extra)}"
    for key, values in wanted.items():
        if found[key] != values:
            raise AssertionError(f"{key} has {found[key]} and should have {values}")


def assert_entries(victoria_logs: Any, payloads: Iterable[bytes], query: str = "*", *, copies: bool = False) -> int:
    """Exactly these log records are what `query` finds, every field; how many. `copies`: some may be there again."""
    wanted = Counter(map(without_added_id, expected_entries(map(with_trace_context, payloads)).elements()))
    found = Counter(map(without_added_id, stored_entries(victoria_logs, query).elements()))
    assert wanted
    missing, extra = wanted - found, found - wanted
    if copies:
        extra = Counter({each: count for each, count in extra.items() if each not in wanted})
    some = next(iter(missing), None), next(iter(extra), None)
    assert not missing, f"{len(missing)} of {len(wanted)} are missing; one that is, and one that nobody sent: {some}"
    assert not extra, f"{len(extra)} are there that nobody sent, among them {some[1]}"
    return wanted.total()


def with_trace_context(payload: bytes) -> bytes:
    """The request with the ids that `correlation` finds in `traceparent`."""
    request = ExportLogsServiceRequest.FromString(payload)
    for group in request.resource_logs:
        for scope in group.scope_logs:
            for record in scope.log_records:
                for each in record.attributes:
                    if each.key == "traceparent" and not record.trace_id:
                        _, trace, span, flags = each.value.string_value.split("-")
                        record.trace_id, record.span_id = bytes.fromhex(trace), bytes.fromhex(span)
                        record.flags = int(flags, 16)
    return request.SerializeToString()


def without_added_id(entry: Entry) -> Entry:
    """Without a request id that follows from the trace id: `correlation` adds it when it knows it by then."""
    time, labels, line, rest = entry
    said, about = json.loads(line), json.loads(rest)
    for each in (said, about):
        if each.get("request_id", "") == request_of(about.get("trace_id", "")):
            del each["request_id"]
    return time, labels, ordered(said), ordered(about)


def traces_of(payloads: Iterable[bytes]) -> dict[str, dict[str, dict[str, Any]]]:
    """Trace id to span id to everything that Jaeger gives back of a span."""
    found: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    for payload in payloads:
        for resource in ExportTraceServiceRequest.FromString(payload).resource_spans:
            for scope in resource.scope_spans:
                for span in scope.spans:
                    found[span.trace_id.hex()][span.span_id.hex()] = span_content(resource.resource, scope.scope, span)
    return found


def span_content(resource: Any, scope: Any, span: Any) -> dict[str, Any]:
    return {
        "parent": span.parent_span_id.hex(),
        "name": span.name,
        "kind": span.kind,
        "start": span.start_time_unix_nano,
        "end": span.end_time_unix_nano,
        "status": (span.status.code, span.status.message),
        "attributes": pairs(span.attributes),
        "events": [(each.name, each.time_unix_nano, pairs(each.attributes)) for each in span.events],
        "links": [(each.trace_id.hex(), each.span_id.hex()) for each in span.links],
        "resource": pairs(resource.attributes),
        "scope": (scope.name, scope.version),
    }


def pairs(attributes: Any) -> dict[str, str]:
    return {each.key: str(each.value) for each in attributes}


def traces_in(jaeger: Any, payloads: Iterable[bytes]) -> dict[str, dict[str, dict[str, Any]]]:
    """The same of what a `Jaeger` of the tests has of the traces that were sent."""
    with ThreadPoolExecutor(4) as pool:
        stored = [each for each in pool.map(jaeger.stored, list(traces_of(payloads))) if each]
    return traces_of(from_json(json.dumps({"resourceSpans": each}).encode()) for each in stored)


def must_keep(spans: dict[str, dict[str, Any]]) -> bool:
    """By the policies of configs/gateway.yaml: an error, a slow trace, a Byzantine fault."""
    if max(s["end"] for s in spans.values()) - min(s["start"] for s in spans.values()) > 5 * 10**9:
        return True
    return any(is_fault(span) for span in spans.values())


def is_fault(span: dict[str, Any]) -> bool:
    attributes = span["attributes"]
    return (
        span["status"][0] == 2
        or "butterfly.byzantine.fault_type" in attributes
        or "true" in attributes.get("butterfly.byzantine.detected", "")
        or any(name in ("byzantine.fault_detected", "byzantine.verification_failed") for name, _, _ in span["events"])
    )


def assert_traces(
    jaeger: Any, payloads: Iterable[bytes], late: Collection[tuple[str, str]], before: Any = None
) -> tuple[set[str], int]:
    """Every trace that must be kept is in Jaeger whole and equal, any other whole or not at all.

    `late`: spans on which no verdict rests. `before`: what Jaeger had before it forgot all. The ids of those that are
    there, and how many were sent.
    """
    sent = traces_of(payloads)
    kept = traces_in(jaeger, payloads)
    for trace, spans in (before or {}).items():
        kept[trace] |= spans
    must = 0
    for trace, spans in sent.items():
        in_time = {span: about for span, about in spans.items() if (trace, span) not in late}
        if in_time and must_keep(in_time):
            must += 1
            assert trace in kept, f"trace {trace} must be kept and isn't there"
        if trace in kept:
            compare(spans, kept[trace])
    assert must, "there is nothing to lose"
    return set(kept), len(sent)
