"""Where requests go, whether they are encrypted, and what is refused."""

import pytest
from pydantic import ValidationError

from exporters.prometheus_remote_write import PrometheusRemoteWriteExporter, RemoteWriteOptions


@pytest.mark.parametrize(
    ("options", "url"),
    [
        ({}, "http://localhost:9090/api/v1/write"),
        ({"endpoint": "127.0.0.1:1"}, "http://127.0.0.1:1/api/v1/write"),
        ({"endpoint": "localhost:1", "tls": {}}, "https://localhost:1/api/v1/write"),
        ({"endpoint": "mimir.example:1"}, "https://mimir.example:1/api/v1/write"),
        ({"endpoint": "mimir.example:1", "tls": {"insecure": True}}, "http://mimir.example:1/api/v1/write"),
        ({"endpoint": "https://mimir.example/api/v1/push"}, "https://mimir.example:443/api/v1/push"),
        ({"endpoint": "http://h:1/write?extra=1"}, "http://h:1/write?extra=1"),
    ],
)
def test_where_requests_go(options, url):
    assert RemoteWriteOptions.model_validate(options).url == url


@pytest.mark.parametrize(
    "options",
    [
        {"endpoint": "ftp://h"},
        {"endpoint": "http://u:p@h/"},
        {"headers": {"content-type": "x"}},
        {"headers": {"X-Prometheus-Remote-Write-Version": "x"}},
        {"external_labels": {"a.b": "x"}},
        {"external_labels": {"__name__": "x"}},
        {"namespace": "a b"},
        {"protobuf_message": "v2"},
        {"remote_write_queue": {"num_consumers": 0}},
    ],
)
def test_what_cant_work_is_refused(options):
    with pytest.raises(ValidationError):
        RemoteWriteOptions.model_validate(options)


@pytest.mark.parametrize(
    ("suffixes", "strategy", "expected"),
    [
        (True, "NoUTF8EscapingWithSuffixes", "NoUTF8EscapingWithSuffixes"),
        (False, "NoUTF8EscapingWithSuffixes", "NoTranslation"),
        (False, "UnderscoreEscapingWithSuffixes", "UnderscoreEscapingWithoutSuffixes"),
    ],
)
def test_the_collectors_way_to_leave_suffixes_out(suffixes, strategy, expected):
    options = RemoteWriteOptions(add_metric_suffixes=suffixes, translation_strategy=strategy)
    assert options.strategy == expected


def test_problems_and_warnings_have_their_place():
    problems = PrometheusRemoteWriteExporter.problems
    assert problems(RemoteWriteOptions()) == []
    ((path, _),) = problems(RemoteWriteOptions(endpoint="http://h:1", tls={"ca_file": "x"}))
    assert path == ("tls",)
    ((path, _),) = problems(RemoteWriteOptions(endpoint="https://h:1", tls={"cert_file": "x"}))
    assert path == ("tls",)
    warnings = PrometheusRemoteWriteExporter.warnings
    ((path, _),) = warnings(RemoteWriteOptions(endpoint="http://h:1", headers={"a": "b"}))
    assert path == ("headers",)
    ((path, _),) = warnings(RemoteWriteOptions(endpoint="https://h:1", tls={"insecure_skip_verify": True}))
    assert path == ("tls", "insecure_skip_verify")
