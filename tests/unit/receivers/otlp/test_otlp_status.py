import json

import pytest
from google.protobuf import json_format
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from receivers.otlp import status
from receivers.otlp.signals import LOGS, METRICS, TRACES
from receivers.otlp.transport import Answer, Code

ANSWERS = st.builds(
    Answer,
    st.sampled_from(Code),
    st.just("outcome"),
    st.text(max_size=300),
    retry_after_ns=st.integers(0, 10**13),
    bad_ids=st.integers(0, 2**40),
    undeliverable=st.integers(0, 2**40),
)


@pytest.mark.parametrize(
    ("rules", "response", "rejected"),
    [
        (TRACES, ExportTraceServiceResponse, "rejected_spans"),
        (METRICS, ExportMetricsServiceResponse, "rejected_data_points"),
        (LOGS, ExportLogsServiceResponse, "rejected_log_records"),
    ],
)
@given(ANSWERS)
def test_responses_are_what_the_generated_classes_read(rules, response, rejected, answer):
    message = response.FromString(status.response(answer))
    assert getattr(message.partial_success, rejected) == answer.rejected == answer.bad_ids + answer.undeliverable
    assert message.partial_success.error_message == answer.message
    assert message.HasField("partial_success") == bool(answer.rejected or answer.message)
    assert json_format.Parse(status.response_json(answer, rules.rejected), response()) == message


@given(ANSWERS)
def test_statuses_are_what_the_generated_classes_read(answer):
    message = Status.FromString(status.status(answer))
    assert (message.code, message.message) == (answer.code, answer.message)
    assert len(message.details) == bool(answer.retry_after_ns)
    if answer.retry_after_ns:
        info = RetryInfo()
        assert message.details[0].Unpack(info)
        assert info.retry_delay.seconds * 10**9 + info.retry_delay.nanos == answer.retry_after_ns
    assert json_format.Parse(status.status_json(answer), Status()) == message


@pytest.mark.parametrize("answer", [Answer(Code.OK, "ok")])
def test_full_success_leaves_partial_success_unset(answer):
    assert status.response(answer) == b""
    assert json.loads(status.response_json(answer, TRACES.rejected)) == {}
