import logging

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector.api import Ack, Batch, BuildContext, Outcome
from exporters.debug import DebugExporter, DebugOptions


@pytest.fixture
def show(caplog, monkeypatch):
    caplog.set_level(logging.INFO)

    async def export(times=1, second=0.0, exporter=None, **options):
        exporter = exporter or DebugExporter(
            DebugOptions.model_validate(options), BuildContext("debug", logging.getLogger("test.debug"))
        )
        monkeypatch.setattr("exporters.debug.time.monotonic", lambda: second)
        request = ExportTraceServiceRequest()
        span = (
            request.resource_spans.add()
            .scope_spans.add()
            .spans.add(
                name="evil\nINFO fake",
                trace_id=bytes(15) + b"\1",
                span_id=bytes(7) + b"\2",
                end_time_unix_nano=1_500_000,
            )
        )
        span.attributes.add(key="user").value.string_value = "alice"
        for _ in range(times):
            batch = Batch(request.SerializeToString(), Ack(lambda _outcome, _reason: None))
            assert await exporter.export(batch) == 0
            batch.ack.resolve(Outcome.DELIVERED)
        return exporter

    return export


async def test_basic_counts_and_shows_no_payload(show, caplog):
    await show()
    assert caplog.messages == ["Traces: resource spans 1, spans 1"]


async def test_basic_counts_what_is_selected_and_decodes_nothing(caplog, monkeypatch):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("exporters.debug.to_json", None)
    request = ExportTraceServiceRequest()
    for spans in (2, 0, 3):
        scope = request.resource_spans.add().scope_spans.add()
        for _ in range(spans):
            scope.spans.add(name="x", trace_id=bytes(15) + b"\1", span_id=bytes(7) + b"\2")
    batch = Batch(request.SerializeToString(), Ack(lambda _outcome, _reason: None))
    exporter = DebugExporter(DebugOptions(sampling_initial=9), BuildContext("debug", logging.getLogger("test.debug")))
    for mask in ([1, 1, 1, 1, 1], [0, 0, 1, 0, 1], [0, 0, 0, 0, 0]):
        await exporter.export(batch.select([bool(bit) for bit in mask]))
    batch.ack.resolve(Outcome.DELIVERED)
    assert caplog.messages == [
        f"Traces: resource spans {resources}, spans {spans}" for resources, spans in ((2, 5), (1, 2), (0, 0))
    ]


async def test_normal_gives_a_line_a_span(show, caplog):
    await show(verbosity="normal")
    _, line = caplog.messages[0].split("\n")
    assert line.startswith('"evil\\nINFO fake" 00000000000000000000000000000001 0000000000000002 1.500ms')
    assert '"user":"alice"' in line


async def test_detailed_gives_everything(show, caplog):
    await show(verbosity="detailed")
    assert '"stringValue": "alice"' in caplog.text


async def test_sampling_within_a_second(show, caplog):
    exporter = await show(times=12, sampling_initial=2, sampling_thereafter=5)
    assert len(caplog.messages) == 2 + 2
    await show(times=1, second=1.0, exporter=exporter)
    assert len(caplog.messages) == 5


async def test_sampling_thereafter_zero_shows_no_more(show, caplog):
    await show(times=12, sampling_initial=2, sampling_thereafter=0)
    assert len(caplog.messages) == 2


def test_the_default_verbosity_is_basic():
    assert DebugOptions().verbosity == "basic"
