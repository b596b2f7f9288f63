"""What the options of `loki` accept, refuse and warn of, and what they come to."""

import pytest
from pydantic import ValidationError

from exporters.loki import LokiExporter, LokiOptions


def parsed(**options):
    return LokiOptions.model_validate(options)


def problems(**options):
    return LokiExporter.problems(parsed(**options))


def warnings(**options):
    return LokiExporter.warnings(parsed(**options))


@pytest.mark.parametrize(
    ("options", "url"),
    [
        ({}, "http://localhost:3100/loki/api/v1/push"),
        ({"endpoint": "https://logs.example.org"}, "https://logs.example.org:443/loki/api/v1/push"),
        ({"endpoint": "http://gateway/insert/"}, "http://gateway:80/insert/loki/api/v1/push"),
        ({"endpoint": "http://l:80/x/loki/api/v1/push"}, "http://l:80/x/loki/api/v1/push"),
        ({"endpoint": "loki:3100"}, "https://loki:3100/loki/api/v1/push"),
        ({"endpoint": "loki:3100", "tls": {"insecure": True}}, "http://loki:3100/loki/api/v1/push"),
        ({"format": "otlp"}, "http://localhost:3100/otlp/v1/logs"),
    ],
)
def test_where_logs_are_posted_to(options, url):
    assert parsed(**options).url == url


def test_the_defaults_are_lokis_and_without_problems():
    assert problems() == []
    assert warnings() == []
    limits = parsed().plan.limits
    assert (limits.max_line_size, limits.max_age, limits.max_ahead) == (262144, 604800 * 10**9, 600 * 10**9)
    assert parsed().limits.max_push_size == 3 << 20, "what Loki adds fits into the 4 MiB of its own messages"


@pytest.mark.parametrize(
    ("options", "place", "words"),
    [
        ({"labels": [f"a{n}" for n in range(16)]}, ("labels",), "expected 15 labels at the most"),
        ({"labels": ["a.b", "a_b"]}, ("labels",), "2 labels would be named a_b"),
        ({"labels": ["a"], "static_labels": {"a": "1"}}, ("labels",), "2 labels would be named a"),
        ({"labels": ["butterfly.overflow"]}, ("labels",), "butterfly_overflow marks the streams"),
        ({"labels": ["a" * 1025]}, ("labels",), "limits.max_label_name_length"),
        ({"static_labels": {"1a": "x"}}, ("static_labels", "1a"), "expected letters, digits and _"),
        ({"static_labels": {"__a": "x"}}, ("static_labels", "__a"), "no __ at the beginning"),
        ({"static_labels": {"a": ""}}, ("static_labels", "a"), "expected a value"),
        ({"static_labels": {"a": "é" * 1025}}, ("static_labels", "a"), "expected a shorter value"),
        ({"tls": {"ca_file": "x"}}, ("tls",), "the endpoint is plaintext"),
        ({"endpoint": "https://a", "tls": {"cert_file": "x"}}, ("tls",), "cert_file and key_file go together"),
        ({"tenant_id": "a", "headers": {"x-scope-orgid": "b"}}, ("headers",), "X-Scope-OrgID is what tenant_id sets"),
        (
            {"static_labels": {f"s{n}": "x" for n in range(15)}, "labels": []},
            ("labels",),
            "expected 15 labels at the most",
        ),
    ],
)
def test_what_cannot_work_is_a_problem(options, place, words):
    ((found, sentence),) = problems(**options)
    assert found == place
    assert words in sentence


@pytest.mark.parametrize(
    ("options", "place", "words"),
    [
        ({"labels": ["level", "butterfly.request.id"]}, ("labels", 1), "a stream of its own"),
        ({"endpoint": "http://a", "headers": {"Authorization": "x"}}, ("headers",), "in plaintext"),
        ({"endpoint": "https://a", "tls": {"insecure_skip_verify": True}}, ("tls", "insecure_skip_verify"), "anybody"),
        ({"format": "otlp", "line": "body"}, ("line",), "Loki's own configuration decides this"),
    ],
)
def test_what_was_not_meant_is_a_warning(options, place, words):
    ((found, sentence),) = warnings(**options)
    assert found == place
    assert words in sentence


@pytest.mark.parametrize(
    "options",
    [
        {"endpoint": "ftp://a"},
        {"endpoint": "http://user:secret@a"},
        {"tenant_id": "a\r\nb"},
        {"headers": {"Content-Encoding": "gzip"}},
        {"line": "xml"},
        {"limits": {"max_label_names_per_series": 65}},
        {"structured_metadata": "all"},
        {"unknown": 1},
    ],
)
def test_what_is_no_option_is_refused(options):
    with pytest.raises(ValidationError):
        parsed(**options)
