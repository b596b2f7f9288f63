"""Real SDKs as senders of metrics and logs: what they send is what comes out, field for field."""

import json
import subprocess
import time
import urllib.error
import urllib.request

import pytest
from gateway_process import ROOT, Gateway, free_port
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.sdk.metrics.export import MetricExportResult
from otlp_sdk import RECORDS, ROUNDS, from_otlp_json, send_logs, send_metrics, to_otlp_json

SEND = {"metrics": send_metrics, "logs": send_logs}
SIGNALS = tuple(SEND)


def direct(folder):
    """Metrics and logs from one receiver to a file each."""
    return {
        "receivers": {
            "otlp": {"protocols": {name: {"endpoint": f"127.0.0.1:{free_port()}"} for name in ("grpc", "http")}}
        },
        "processors": {"memory_limiter": {"limit_mib": 1024}},
        "exporters": {f"file/{signal}": {"path": str(folder / f"kept-{signal}.jsonl")} for signal in SIGNALS},
        "service": {
            "data_dir": str(folder / "data"),
            "telemetry": {"metrics": {"address": f"127.0.0.1:{free_port()}"}},
            "pipelines": {
                signal: {"receivers": ["otlp"], "processors": ["memory_limiter"], "exporters": [f"file/{signal}"]}
                for signal in SIGNALS
            },
        },
    }


def exporter(signal, protocol, gateway):
    if signal == "metrics":
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetrics
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpMetrics

        over_grpc, over_http = GrpcMetrics, HttpMetrics
    else:
        from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogs
        from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogs

        over_grpc, over_http = GrpcLogs, HttpLogs
    if protocol == "grpc":
        return over_grpc(endpoint=f"http://{gateway.grpc}", insecure=True)
    return over_http(endpoint=f"http://{gateway.http}/v1/{signal}")


def together(messages):
    """One message of all, which is what a gateway may make of them, too."""
    whole = type(messages[0])()
    for message in messages:
        whole.MergeFrom(message)
    return whole


def kept(folder, signal, like):
    lines = (folder / f"kept-{signal}.jsonl").read_text().splitlines()
    return together([from_otlp_json(json.loads(line), type(like)()) for line in lines])


def items(signal, message):
    if signal == "logs":
        return sum(len(s.log_records) for r in message.resource_logs for s in r.scope_logs)
    metrics = [m for r in message.resource_metrics for s in r.scope_metrics for m in s.metrics]
    return sum(len(getattr(metric, metric.WhichOneof("data")).data_points) for metric in metrics)


def settled(gateway, signal, count, requests, transport):
    """The books agree: every item is delivered, and every request answered."""
    assert gateway.metric("butterfly_accepted_items_total", pipeline=signal) == count
    assert gateway.metric("butterfly_delivered_items_total", pipeline=signal) == count
    counted = {"signal": signal, "transport": transport, "outcome": "ok"}
    assert gateway.metric("butterfly_receiver_requests_total", **counted) == requests


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_the_python_sdk_delivers_metrics_and_logs(tmp_path, protocol):
    with Gateway(direct(tmp_path), tmp_path) as gateway:
        sent = {signal: send(exporter(signal, protocol, gateway)) for signal, send in SEND.items()}
        expected = {signal: together(messages) for signal, messages in sent.items()}
        gateway.drained()
        for signal, message in expected.items():
            settled(gateway, signal, items(signal, message), len(sent[signal]), protocol)
        gateway.terminate()
    assert items("logs", expected["logs"]) == RECORDS
    assert items("metrics", expected["metrics"]) >= 9 * ROUNDS
    for signal, message in expected.items():
        assert "trace_id" in str(message)  # of exemplars, or of records
        assert kept(tmp_path, signal, message) == message


def post(gateway, signal, shown):
    """The status and the body of the answer to a request in JSON."""
    request = urllib.request.Request(
        f"http://{gateway.http}/v1/{signal}", json.dumps(shown).encode(), {"content-type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as reply:
            return reply.status, json.loads(reply.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def test_the_same_in_json_and_the_examples_of_the_specification(tmp_path):
    with Gateway(direct(tmp_path), tmp_path) as gateway:
        expected = {}
        for signal, send in SEND.items():
            message = together(send(Nowhere()))
            example = json.loads((ROOT / "tests" / "data" / f"opentelemetry_proto_{signal}.json").read_text())
            assert post(gateway, signal, to_otlp_json(message)) == (200, {})
            assert post(gateway, signal, example) == (200, {})
            expected[signal] = together([message, from_otlp_json(example, type(message)())])
        gateway.drained()
        for signal, message in expected.items():
            settled(gateway, signal, items(signal, message), 2, "http")
        gateway.terminate()
    for signal, message in expected.items():
        assert kept(tmp_path, signal, message) == message


def attributes(item):
    return {each.key: each.value for each in item.attributes}


def test_the_javascript_sdk_delivers_metrics_and_logs_in_json(tmp_path, node_modules):
    count = 100
    with Gateway(direct(tmp_path), tmp_path) as gateway:
        for signal in SIGNALS:
            done = subprocess.run(
                ["node", "send_signals.cjs", signal, f"http://{gateway.http}/v1/{signal}", str(count)],
                cwd=node_modules,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert done.stdout == f"sent {count}\n", done.stderr
        gateway.drained()
        settled(gateway, "metrics", 4 * count, 1, "http")
        settled(gateway, "logs", count, 1, "http")
        gateway.terminate()
    (scope,) = kept(tmp_path, "metrics", ExportMetricsServiceRequest()).resource_metrics[0].scope_metrics
    found = {metric.name: getattr(metric, metric.WhichOneof("data")).data_points for metric in scope.metrics}
    assert {name: len(points) for name, points in found.items()} == dict.fromkeys(
        ("tokens", "latency", "sizes", "share"), count
    )
    for name, points in found.items():
        for point in points:
            number = attributes(point)["number"].int_value
            if name == "tokens":
                assert point.as_double == 2**40 + number or point.as_int == 2**40 + number
            elif name == "share":
                assert point.as_double == number / 7
            else:
                assert (point.count, point.sum) == (1, number / 100 if name == "latency" else number)
                assert name == "latency" or point.zero_count + sum(point.positive.bucket_counts) == 1
    (scope,) = kept(tmp_path, "logs", ExportLogsServiceRequest()).resource_logs[0].scope_logs
    assert len(scope.log_records) == count
    for number, record in enumerate(scope.log_records):
        assert record.time_unix_nano == (1_700_000_000_000 + number) * 10**6
        assert (record.severity_number, record.severity_text) == (1 + number % 24, "loud")
        assert attributes(record)["record.number"].int_value == number
        assert attributes(record)["ok"].bool_value == (number % 2 == 0)
        if number % 2:
            assert record.body.string_value == f"checkpoint lost {number}"
        else:
            body = {each.key: each.value for each in record.body.kvlist_value.values}
            assert body["number"].int_value == number
            assert body["deep"].array_value.values[1].string_value == "two"


def test_without_memory_metrics_and_logs_are_refused_at_the_door(tmp_path):
    config = direct(tmp_path)
    config["processors"]["memory_limiter"] = {"limit_mib": 1, "check_interval": "50ms"}
    empty = {"metrics": {"resourceMetrics": []}, "logs": {"resourceLogs": []}}
    with Gateway(config, tmp_path) as gateway:
        for signal in SIGNALS:
            for _ in range(100):
                code, body = post(gateway, signal, empty[signal])
                if code == 503:
                    break
                time.sleep(0.05)
            assert (code, body["code"], body["details"][0]["retryDelay"]) == (503, 14, "1s")
            assert gateway.metric("butterfly_receiver_requests_total", signal=signal, outcome="overloaded") == 1
        assert gateway.metric("butterfly_memory_limiter_refused_total", reason="memory") == 2
        assert post(gateway, "traces", {})[0] == 404
        gateway.terminate()


class Nowhere:
    """An exporter that sends nothing."""

    _preferred_temporality = _preferred_aggregation = None

    def export(self, *_arguments, **_options):
        return MetricExportResult.SUCCESS

    def force_flush(self, *_arguments, **_options):
        return True

    def shutdown(self, *_arguments, **_options):
        pass
