"""Real OpenTelemetry SDKs as senders: Python over gRPC and HTTP, JavaScript over HTTP with JSON."""

import json
import subprocess
import urllib.request

import pytest
from gateway_process import ROOT, Gateway, quickstart

COUNT = 200


def kept_spans(gateway):
    for path in gateway.kept_files():
        for line in path.read_text().splitlines():
            for resource in json.loads(line)["resourceSpans"]:
                for scope in resource["scopeSpans"]:
                    for span in scope["spans"]:
                        yield resource, scope, span


def send_with_python_sdk(exporter):
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.trace import Status, StatusCode

    provider = TracerProvider(resource=Resource.create({"service.name": "layer-runner", "node.id": "n-17"}))
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=100))
    tracer = provider.get_tracer("butterfly-test", "1.2.3")
    sent = {}
    for number in range(COUNT):
        with tracer.start_as_current_span(f"inference.request {number}") as span:
            span.set_attribute("request.number", number)
            span.add_event("checkpoint.create", {"bytes": number})
            span.set_status(Status(StatusCode.ERROR, "made up"))
            sent[format(span.get_span_context().span_id, "016x")] = (
                format(span.get_span_context().trace_id, "032x"),
                number,
            )
    provider.shutdown()
    return sent


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_the_python_sdk_delivers(tmp_path, protocol):
    with Gateway(quickstart(tmp_path, decision_wait="500ms"), tmp_path) as gateway:
        if protocol == "grpc":
            from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

            exporter = OTLPSpanExporter(endpoint=f"http://{gateway.grpc}", insecure=True)
        else:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

            exporter = OTLPSpanExporter(endpoint=f"http://{gateway.http}/v1/traces")
        sent = send_with_python_sdk(exporter)
        gateway.drained()
        gateway.terminate()
        got = {}
        for resource, scope, span in kept_spans(gateway):
            assert {"key": "node.id", "value": {"stringValue": "n-17"}} in resource["resource"]["attributes"]
            assert (scope["scope"]["name"], scope["scope"]["version"]) == ("butterfly-test", "1.2.3")
            assert span["status"] == {"message": "made up", "code": 2}
            assert span["traceState"] == "ot=th:0"
            number = int(span["attributes"][0]["value"]["intValue"])
            assert span["name"] == f"inference.request {number}"
            assert span["events"][0]["name"] == "checkpoint.create"
            got[span["spanId"]] = (span["traceId"], number)
    assert got == sent


def test_the_javascript_sdk_delivers_json(tmp_path, node_modules):
    with Gateway(quickstart(tmp_path, decision_wait="500ms"), tmp_path) as gateway:
        done = subprocess.run(
            ["node", "send.cjs", f"http://{gateway.http}/v1/traces", str(COUNT)],
            cwd=node_modules,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.stdout == f"sent {COUNT}\n", done.stderr
        gateway.drained()
        gateway.terminate()
        spans = [span for _, _, span in kept_spans(gateway)]
    assert sorted(span["name"] for span in spans) == sorted(f"inference.request {n}" for n in range(COUNT))
    for span in spans:
        attributes = {each["key"]: each["value"] for each in span["attributes"]}
        number = int(attributes["request.number"]["intValue"])
        share = attributes["share"]  # JavaScript sends whole numbers as ints
        assert float(share.get("doubleValue", share.get("intValue"))) == number / 7
        assert attributes["ok"] == {"boolValue": number % 2 == 0}
        assert [int(each["intValue"]) for each in attributes["layers"]["arrayValue"]["values"]] == [1, 2, 3]


def test_the_example_of_the_specification_comes_out_equal(tmp_path):
    example = json.loads((ROOT / "tests" / "data" / "opentelemetry_proto_trace.json").read_text())
    config = quickstart(tmp_path)
    config["service"]["pipelines"] = {"traces": {"receivers": ["otlp"], "exporters": ["file"]}}
    del config["processors"], config["connectors"]
    with Gateway(config, tmp_path) as gateway:
        request = urllib.request.Request(
            f"http://{gateway.http}/v1/traces",
            json.dumps(example).encode(),
            {"content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as reply:
            assert json.loads(reply.read()) == {}
        gateway.drained()
        gateway.terminate()
        (line,) = gateway.kept_files()[0].read_text().splitlines()
    assert normal(json.loads(line)) == normal(example)


def normal(request):
    """OTLP/JSON by meaning: through protobuf, with ids in hex of one case."""

    def ids(node):
        if isinstance(node, dict):
            return {
                key: bytes.fromhex(value).hex() if key in {"traceId", "spanId", "parentSpanId"} else ids(value)
                for key, value in node.items()
                if value not in ("", None)
            }
        return [ids(each) for each in node] if isinstance(node, list) else node

    def numbers(node):
        if isinstance(node, dict):
            return {key: numbers(value) for key, value in node.items()}
        if isinstance(node, list):
            return [numbers(each) for each in node]
        return str(node) if isinstance(node, int) and not isinstance(node, bool) else node

    return numbers(ids(request))


def test_empty_requests_succeed(tmp_path):
    with Gateway(quickstart(tmp_path), tmp_path) as gateway:
        for body, kind in ((b"", "application/x-protobuf"), (b"{}", "application/json")):
            request = urllib.request.Request(
                f"http://{gateway.http}/v1/traces", body, {"content-type": kind}, method="POST"
            )
            with urllib.request.urlopen(request, timeout=10) as reply:
                assert (reply.status, reply.headers["content-type"]) == (200, kind)
