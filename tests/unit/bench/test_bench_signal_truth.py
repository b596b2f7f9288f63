"""The judges of metrics, logs and of what is made of spans: each kind of fault is found, and nothing else is called
one."""

import json
from collections import defaultdict
from dataclasses import replace

import orjson
import pytest
from click.testing import CliRunner
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from bench.generator.clock import Moment
from bench.generator.log_records import LogShape
from bench.generator.metric_shape import MetricShape
from bench.generator.traffic import Shape, Traffic
from bench.ledger import Outcome, SenderLedger
from bench.log_truth import compare_log_files, compare_logs, sent_records, uid
from bench.metric_truth import (
    arrived_values,
    compare_metric_files,
    compare_metrics,
    final_values,
    sent_exemplars,
    sent_points,
)
from bench.otlp_items import Distribution, json_points, json_records, points, records
from bench.red_truth import RedKey, red
from bench.truth import main
from collector.wire.otlp_json import to_json

BEGAN = 1_700_000_000_000_000_000
ROUNDS = 3


def shape(temporality="cumulative"):
    return Shape(
        seed=21,
        senders=2,
        batch=40,
        spans=800,
        logs=LogShape(records=300, batch=50),
        metrics=MetricShape(series=900, batch=300, explode=50, temporality=temporality),
    )


def moment(number):
    return Moment(number, number, 3 * number, BEGAN + number * 10**9)


def filled(shape):
    """A run of which everything was acknowledged: cycles 0 to 2."""
    ledger = SenderLedger(shape)
    traffic = Traffic(shape)
    ledger.clock.began = BEGAN
    for number in range(ROUNDS + 1):
        ledger.clock.start(number, BEGAN + number * 10**9, 10**9)
    for number in range(ROUNDS):
        for index in range(len(traffic.requests)):
            ledger.note(number, index, Outcome.ACKED)
        for index in range(len(traffic.logs.requests)):
            ledger.note_logs(number, index, Outcome.ACKED)
        for index in range(len(traffic.metrics.requests)):
            ledger.note_report(moment(number), index, Outcome.ACKED)
    return ledger, traffic


@pytest.fixture(scope="module", params=["cumulative", "mixed"])
def run(request):
    return filled(shape(request.param))


@pytest.fixture
def ledger(run):
    return replace(run[0], outcomes=dict(run[0].outcomes), logs=dict(run[0].logs), reports=dict(run[0].reports))


@pytest.fixture
def traffic(run):
    return run[1]


def log_payloads(ledger, traffic):
    return [traffic.logs.requests[index].encode(cycle, ledger.clock) for cycle, index in ledger.logs]


def metric_payloads(ledger, traffic):
    before, made = {}, []
    for (_, index), (_, _, when) in sorted(ledger.reports.items()):
        made.append(traffic.metrics.requests[index].encode(when, before.get(index), ledger.clock))
        before[index] = when
    return made


def lines(payloads, signal, path):
    path.write_bytes(b"".join(to_json(payload, signal) + b"\n" for payload in payloads))
    return path


def items_of(payloads):
    return [item for payload in payloads for item in records(ExportLogsServiceRequest.FromString(payload))]


def points_of(payloads):
    return [point for payload in payloads for point in points(ExportMetricsServiceRequest.FromString(payload))]


def judge_logs(ledger, traffic, items):
    return compare_logs(sent_records(ledger, traffic), ((uid(item), item) for item in items), lambda a, b: a == b)


def test_json_and_protobuf_give_the_same_items(ledger, traffic):
    for payload in log_payloads(ledger, traffic)[:3]:
        assert list(json_records(orjson.loads(to_json(payload, "logs")))) == items_of([payload])
    for payload in metric_payloads(ledger, traffic):
        assert list(json_points(orjson.loads(to_json(payload, "metrics")))) == points_of([payload])


def test_json_of_protobufs_own_is_read_as_well(ledger, traffic):
    """But for the ids, which OTLP writes as hex."""
    payload = metric_payloads(ledger, traffic)[-2]
    read = list(
        json_points(MessageToDict(ExportMetricsServiceRequest.FromString(payload), use_integers_for_enums=True))
    )
    wanted = points_of([payload])
    assert [(point.key, point.value) for point in read] == [(point.key, point.value) for point in wanted]


def test_logs_that_all_arrived(ledger, traffic, tmp_path):
    path = lines(log_payloads(ledger, traffic), "logs", tmp_path / "logs.jsonl")
    report = compare_log_files(ledger, traffic, [path])
    assert report.holds
    assert report.sent == report.acked == report.arrived == ROUNDS * traffic.logs.records
    assert report.lines()[-1] == "everything holds"


def test_a_lost_record(ledger, traffic):
    items = items_of(log_payloads(ledger, traffic))
    report = judge_logs(ledger, traffic, items[:100] + items[101:])
    assert (report.acked_lost, report.altered, report.extra) == (1, 0, 0)
    assert report.examples == [uid(items[100])]
    assert not report.holds


@pytest.mark.parametrize(
    "change",
    [
        {"time": 5},
        {"body": "something else"},
        {"trace_id": ""},
        {"span_id": "00" * 8},
        {"severity": 1},
        {"scope": ("", "")},
        {"resource": {}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_an_altered_record(ledger, traffic, change):
    items = items_of(log_payloads(ledger, traffic))
    chosen = next(number for number, item in enumerate(items) if item.trace_id)
    items[chosen] = replace(items[chosen], **change)
    report = judge_logs(ledger, traffic, items)
    assert (report.acked_lost, report.altered, report.extra) == (0, 1, 0)
    assert not report.holds


def test_copies_and_strangers(ledger, traffic):
    items = items_of(log_payloads(ledger, traffic))
    report = judge_logs(ledger, traffic, [*items, items[3], items[3]])
    assert report.holds
    assert report.duplicates == 2
    stranger = replace(items[0], attributes={**items[0].attributes, "log.record.uid": "f" * 16})
    report = judge_logs(ledger, traffic, [*items, stranger])
    assert (report.extra, report.holds) == (1, False)


def test_refused_and_unanswered_records_may_be_missing(ledger, traffic):
    items = items_of(log_payloads(ledger, traffic))
    ledger.note_logs(0, 0, Outcome.REFUSED)
    ledger.note_logs(0, 1, Outcome.UNKNOWN)
    first = sum(len(traffic.logs.requests[index]) for index in (0, 1))
    assert judge_logs(ledger, traffic, items[first:]).holds
    report = judge_logs(ledger, traffic, items)
    assert report.holds
    assert report.refused_delivered == len(traffic.logs.requests[0])


def test_metrics_that_all_arrived(ledger, traffic, tmp_path):
    path = lines(metric_payloads(ledger, traffic), "metrics", tmp_path / "metrics.jsonl")
    report = compare_metric_files(ledger, traffic, [path])
    assert report.holds, report.examples
    assert report.series == report.acked == report.arrived == traffic.metrics.series
    again = lines(metric_payloads(ledger, traffic), "metrics", tmp_path / "again.jsonl")
    assert compare_metric_files(ledger, traffic, [path, again]).holds  # copies change nothing


def final_point(ledger, name):
    return next(
        (key, each)
        for key, each in ledger.items()
        if key.name == name and (each.value.count if isinstance(each.value, Distribution) else each.value)
    )


@pytest.mark.parametrize(
    "name", ["butterfly.request.count", "butterfly.layer.duration", "butterfly.request.queue.duration"]
)
def test_a_series_with_another_number(ledger, traffic, name):
    expected = final_values(ledger, traffic)
    arrived = arrived_values(points_of(metric_payloads(ledger, traffic)))
    key, wanted = final_point(expected, name)
    assert compare_metrics(expected, arrived).holds
    if isinstance(wanted.value, Distribution):
        arrived[key] = replace(wanted.value, buckets=(*wanted.value.buckets[:-1], wanted.value.buckets[-1] + 1))
    else:
        arrived[key] = wanted.value + 1
    report = compare_metrics(expected, arrived)
    assert (report.missing, report.wrong, report.extra, report.holds) == (0, 1, 0, False)
    assert name in report.examples[0]


def test_a_lost_report_and_a_stranger(ledger, traffic):
    payloads = metric_payloads(ledger, traffic)
    lost = len(traffic.metrics.requests) * (ROUNDS - 1)
    report = compare_metrics(
        final_values(ledger, traffic), arrived_values(points_of(payloads[:lost] + payloads[lost + 1 :]))
    )
    assert report.wrong > 50
    arrived = arrived_values(points_of(payloads))
    key = next(iter(arrived))
    arrived[replace(key, name="nobody.sent.this")] = arrived.pop(key)
    report = compare_metrics(final_values(ledger, traffic), arrived)
    assert (report.missing, report.extra) == (1, 1)


def test_a_report_that_was_refused_does_not_count(ledger, traffic):
    payloads = metric_payloads(ledger, traffic)
    last = len(payloads) - len(traffic.metrics.requests)
    for index in range(len(traffic.metrics.requests)):
        ledger.note_report(moment(ROUNDS - 1), index, Outcome.REFUSED)
    without = arrived_values(points_of(payloads[:last]))
    assert compare_metrics(final_values(ledger, traffic), without).holds
    assert not compare_metrics(final_values(ledger, traffic), arrived_values(points_of(payloads))).holds


@pytest.mark.parametrize("number", range(ROUNDS))
def test_a_report_without_an_answer_may_count_or_not(ledger, traffic, number):
    payloads = metric_payloads(ledger, traffic)
    requests = len(traffic.metrics.requests)
    for index in range(requests):
        ledger.note_report(moment(number), index, Outcome.UNKNOWN)
    expected = final_values(ledger, traffic)
    assert compare_metrics(expected, arrived_values(points_of(payloads))).holds
    without = payloads[: number * requests] + payloads[(number + 1) * requests :]
    assert compare_metrics(expected, arrived_values(points_of(without))).holds
    fewer = payloads[: (ROUNDS - 2) * requests]
    assert not compare_metrics(expected, arrived_values(points_of(fewer))).holds


def test_every_point_is_told(ledger, traffic):
    told = [point for outcome, point in sent_points(ledger, traffic) if outcome is Outcome.ACKED]
    wanted = points_of(metric_payloads(ledger, traffic))

    def order(point):
        return point.time, repr(point.key)

    assert sorted(told, key=order) == sorted(wanted, key=order)
    assert any(point.exemplars for point in told)


def test_every_exemplar_is_told(ledger, traffic):
    wanted = defaultdict(set)
    for point in points_of(metric_payloads(ledger, traffic)):
        wanted[point.key] |= set(point.exemplars)
    wanted = {key: exemplars for key, exemplars in wanted.items() if exemplars}
    assert sent_exemplars(ledger, traffic) == wanted
    assert sum(map(len, wanted.values())) > 200
    assert sent_exemplars(ledger, traffic, Outcome.REFUSED) == {}


def measured(ledger, traffic, outcome):
    """Rate, errors, duration as protobuf's reading of the requests gives them."""
    found = defaultdict(list)
    for (cycle, index), (told, _) in ledger.outcomes.items():
        if told is outcome:
            ends = ledger.clock.ends(cycle, traffic.position)
            message = ExportTraceServiceRequest.FromString(traffic.requests[index].encode(cycle, ends))
            (group,) = message.resource_spans
            resource = {pair.key: pair.value.string_value for pair in group.resource.attributes}
            for scope in group.scope_spans:
                for span in scope.spans:
                    key = RedKey(resource["service.name"], span.name, span.kind, span.status.code)
                    found[key].append(span.end_time_unix_nano - span.start_time_unix_nano)
    return found


def test_rate_errors_and_duration_of_the_spans(ledger, traffic):
    bounds = (0.01, 0.1, 1.0)
    ledger.note(1, 2, Outcome.REFUSED)
    ledger.note(2, 5, Outcome.UNKNOWN)
    for outcome in Outcome:
        wanted = measured(ledger, traffic, outcome)
        found = red(ledger, traffic, bounds=bounds, outcome=outcome)
        assert set(found) == set(wanted)
        for key, each in found.items():
            took = wanted[key]
            assert (each.count, each.nanoseconds) == (len(took), sum(took))
            buckets = [0] * 4
            for duration in took:
                buckets[sum(duration / 1e9 > bound for bound in bounds)] += 1
            assert each.buckets == tuple(buckets)
    by_node = red(ledger, traffic, by_node=True)
    assert {key.node for key in by_node} == {"node-000", "node-001"}
    assert sum(each.count for each in by_node.values()) == (ROUNDS * 800) - 80
    assert {key.status for key in by_node} == {0, 2}


@pytest.mark.parametrize("signal", ["logs", "metrics"])
def test_command(ledger, traffic, tmp_path, signal):
    ledger.write(tmp_path / "sent.jsonl")
    payloads = {"logs": log_payloads, "metrics": metric_payloads}[signal](ledger, traffic)
    arguments = ["--ledger", str(tmp_path / "sent.jsonl"), "--signal", signal]
    whole = lines(payloads, signal, tmp_path / "whole.jsonl")
    result = CliRunner().invoke(main, [*arguments, str(whole)])
    assert result.exit_code == 0, result.output
    assert "everything holds" in result.output
    part = lines(payloads[:-1], signal, tmp_path / "part.jsonl")
    result = CliRunner().invoke(main, [*arguments, "--json", str(part)])
    assert result.exit_code == 1
    assert json.loads(result.output)["holds"] is False


def test_a_torn_last_line_is_left_out(ledger, traffic, tmp_path):
    path = lines(log_payloads(ledger, traffic), "logs", tmp_path / "logs.jsonl")
    path.write_bytes(path.read_bytes() + b'{"resourceLogs":[{')
    assert compare_log_files(ledger, traffic, [path]).holds
    path.write_bytes(b'{"torn\n' + path.read_bytes())
    with pytest.raises(ValueError, match="column"):
        compare_log_files(ledger, traffic, [path])
