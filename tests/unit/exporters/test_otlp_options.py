import logging

import pytest
from pydantic import ValidationError

from collector.api import BuildContext, Signal
from exporters.jaeger import JaegerExporter, JaegerOptions
from exporters.otlp import OtlpExporter, OtlpOptions
from exporters.otlp.options import parse_target


@pytest.mark.parametrize(
    ("endpoint", "parts"),
    [
        ("localhost:4317", ("", "localhost", 4317, "")),
        ("[::1]:4317", ("", "::1", 4317, "")),
        ("https://otel.example", ("https", "otel.example", 443, "")),
        ("http://otel.example/otlp/", ("http", "otel.example", 80, "/otlp")),
        ("https://otel.example:8443/a/b", ("https", "otel.example", 8443, "/a/b")),
    ],
)
def test_endpoints_are_taken_apart(endpoint, parts):
    target = parse_target(endpoint)
    assert (target.scheme, target.host, target.port, target.path) == parts


def test_ipv6_stands_in_brackets():
    assert parse_target("[::1]:4317").authority == "[::1]:4317"


@pytest.mark.parametrize(
    "endpoint",
    ["", "localhost", ":4317", "ftp://x:1", "http://u:p@h:1", "http://h:99999", "h:1\r\nX: y", "http://h/?q=1"],
)
def test_other_endpoints_are_refused_with_what_was_expected(endpoint):
    with pytest.raises(ValidationError) as refused:
        OtlpOptions(endpoint=endpoint)
    assert "endpoint" in str(refused.value)


@pytest.mark.parametrize(
    ("options", "secure"),
    [
        ({}, True),
        ({"tls": {"insecure": True}}, False),
        ({"endpoint": "https://h:1", "tls": {"insecure": True}}, True),
        ({"endpoint": "http://h:1"}, False),
    ],
)
def test_tls_is_on_unless_the_options_say_otherwise(options, secure):
    assert OtlpOptions.model_validate(options).secure(Signal.TRACES) is secure


@pytest.mark.parametrize(
    ("options", "path"),
    [
        ({"endpoint": "http://h:1", "tls": {"ca_file": "ca.pem"}}, ("tls",)),
        ({"tls": {"insecure": True, "server_name_override": "x"}}, ("tls",)),
        ({"tls": {"cert_file": "c.pem"}}, ("tls",)),
        ({"tls": {"insecure_skip_verify": True}}, ("tls", "insecure_skip_verify")),
        ({"compression": "zstd"}, ("compression",)),
        ({"traces_endpoint": "https://h:1/x"}, ("traces_endpoint",)),
        ({"logs_endpoint": "https://h:1/x"}, ("logs_endpoint",)),
        ({"protocol": "http", "metrics_endpoint": "h:1"}, ("metrics_endpoint",)),
        ({"protocol": "http", "traces_endpoint": "h:1"}, ("traces_endpoint",)),
        ({"protocol": "http", "keepalive": {}}, ("keepalive",)),
        ({"endpoint": "https://h:1/path"}, ("endpoint",)),
    ],
)
def test_combinations_that_cannot_work_are_problems(options, path):
    problems = OtlpExporter.problems(OtlpOptions.model_validate(options))
    assert [where for where, _ in problems] == [path]


@pytest.mark.parametrize("options", [{}, {"protocol": "http", "compression": "zstd", "endpoint": "https://h/x"}])
def test_good_options_have_no_problems(options):
    config = OtlpOptions.model_validate(options)
    assert OtlpExporter.problems(config) == OtlpExporter.warnings(config) == []


def test_secrets_in_plaintext_to_another_machine_are_warned_of():
    config = OtlpOptions(endpoint="http://h:1", headers={"authorization": "x"})
    assert OtlpExporter.warnings(config)[0][0] == ("headers",)
    near = OtlpOptions(endpoint="http://localhost:1", headers={"authorization": "x"})
    assert OtlpExporter.warnings(near) == []


@pytest.mark.parametrize(
    "headers",
    [
        {"a b": "x"},
        {"": "x"},
        {"Content-Encoding": "br"},
        {"grpc-timeout": "1S"},
        {"Keep-Alive": "1"},
        {"x": "a\r\nb"},
        {"x": "é"},
    ],
)
def test_headers_that_could_break_a_request_are_refused_without_showing_them(headers):
    with pytest.raises(ValidationError) as refused:
        OtlpOptions(headers=headers)
    assert "a\\r\\nb" not in str(refused.value)


def test_header_values_are_never_shown():
    assert "hunter2" not in repr(OtlpOptions(headers={"authorization": "hunter2"}))


@pytest.mark.parametrize(
    ("options", "secure"),
    [
        ({}, False),
        ({"endpoint": "127.0.0.1:14317"}, False),
        ({"endpoint": "jaeger.example:4317"}, True),
        ({"endpoint": "https://localhost:4317"}, True),
        ({"tls": {"ca_file": "ca.pem"}}, True),
        ({"endpoint": "jaeger.example:4317", "tls": {"insecure": True}}, False),
    ],
)
def test_jaeger_is_plaintext_on_the_same_machine_only(options, secure):
    assert JaegerOptions.model_validate(options).secure(Signal.TRACES) is secure


def test_jaeger_has_jaegers_defaults():
    exporter = JaegerExporter(JaegerOptions(), BuildContext("jaeger", logging.getLogger("test")))
    assert (exporter.config.endpoint, exporter.config.protocol) == ("localhost:4317", "grpc")
