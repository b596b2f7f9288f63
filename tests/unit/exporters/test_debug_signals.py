"""What the `debug` exporter says of metrics and logs."""

import json
import logging

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from collector.api import Ack, Batch, BuildContext, Outcome, Signal
from exporters.debug import DebugExporter, DebugOptions


def metrics():
    request = ExportMetricsServiceRequest()
    found = request.resource_metrics.add().scope_metrics.add().metrics
    gauge = found.add(name="queue\nlength", unit="1").gauge
    gauge.data_points.add(as_int=-7).attributes.add(key="node").value.string_value = "n-1\nINFO fake"
    gauge.data_points.add(as_double=0.5)
    histogram = found.add(name="latency").histogram.data_points.add(count=6, sum=2.5, min=0.25, max=1.0)
    histogram.explicit_bounds.extend((0.5, 1.0))
    histogram.bucket_counts.extend((1, 2, 3))
    request.resource_metrics.add()  # without points: doesn't count
    found = request.resource_metrics.add().scope_metrics.add().metrics
    found.add(name="sizes").exponential_histogram.data_points.add(count=4, sum=8.0, scale=3, zero_count=1)
    found.add(name="empty").sum.is_monotonic = True
    quantile = found.add(name="old").summary.data_points.add(count=2, sum=3.0).quantile_values.add
    quantile(quantile=0.5, value=1.5)
    found.add(name="nan").sum.data_points.add(as_double=float("nan"))
    return request.SerializeToString()


METRIC_LINES = [
    '"queue\\nlength"{"node":"n-1\\nINFO fake"} -7',
    '"queue\\nlength"{} 0.5',
    '"latency"{} count=6 sum=2.5 min=0.25 max=1.0 le0.5=1 le1.0=2 le+Inf=3',
    '"sizes"{} count=4 sum=8.0 scale=3 zeroCount=1',
    '"old"{} count=2 sum=3.0 q0.5=1.5',
    '"nan"{} NaN',
]


def logs():
    request = ExportLogsServiceRequest()
    records = request.resource_logs.add().scope_logs.add().log_records
    record = records.add(severity_number=17, severity_text="ERR\nOR", trace_id=bytes(15) + b"\1", span_id=b"\2" * 8)
    record.body.string_value = "checkpoint\nINFO fake"
    record.attributes.add(key="user").value.string_value = "a"
    record = records.add(severity_number=9)
    record.attributes.add()
    values = record.body.kvlist_value.values
    listed = values.add(key="a").value.array_value.values
    listed.add(int_value=5)
    listed.add(double_value=0.5)
    listed.add(bool_value=True)
    listed.add()
    values.add(key="b").value.bytes_value = b"\0\xff"
    request.resource_logs.add()
    request.resource_logs.add().scope_logs.add().log_records.add()
    return request.SerializeToString()


LOG_LINES = [
    r'"ERR\nOR" "checkpoint\nINFO fake" 00000000000000000000000000000001 0202020202020202 {"user":"a"}',
    '9 {"a":[5,0.5,true,null],"b":"AP8="} {"":null}',
    "0 null {}",
]
EACH = [
    (Signal.METRICS, metrics, "Metrics: resource metrics 2, metrics 5, data points 6", METRIC_LINES),
    (Signal.LOGS, logs, "Logs: resource logs 2, log records 3", LOG_LINES),
]


@pytest.fixture
def show(caplog):
    caplog.set_level(logging.INFO)

    async def export(payload, signal, mask=None, **options):
        context = BuildContext("debug", logging.getLogger("test.debug"))
        exporter = DebugExporter(DebugOptions.model_validate(options), context)
        batch = Batch(payload, Ack(lambda _outcome, _reason: None), signal=signal)
        assert await exporter.export(batch if mask is None else batch.select(mask)) == 0
        batch.ack.resolve(Outcome.DELIVERED)
        return caplog.messages[-1]

    return export


@pytest.mark.parametrize(("signal", "make", "counts", "lines"), EACH)
async def test_basic_counts_and_decodes_nothing(show, monkeypatch, signal, make, counts, lines):
    monkeypatch.setattr("exporters.debug.to_json", None)
    assert await show(make(), signal) == counts
    del lines


@pytest.mark.parametrize(("signal", "make", "counts", "lines"), EACH)
async def test_normal_gives_a_line_an_item(show, signal, make, counts, lines):
    assert (await show(make(), signal, verbosity="normal")).split("\n") == [counts, *lines]


@pytest.mark.parametrize(("signal", "make", "counts", "lines"), EACH)
async def test_what_is_not_selected_is_not_shown(show, signal, make, counts, lines):
    mask = [row == 2 for row in range(len(lines))]
    first, line = (await show(make(), signal, mask, verbosity="normal")).split("\n")
    assert line == lines[2]
    assert first.endswith(" 1")
    assert first != counts


@pytest.mark.parametrize(("signal", "make", "counts", "lines"), EACH)
async def test_detailed_is_the_request_in_json(show, signal, make, counts, lines):
    first, _, text = (await show(make(), signal, verbosity="detailed")).partition("\n")
    assert first == counts
    assert list(json.loads(text)) == [f"resource{signal.value.capitalize()}"]
    del lines
