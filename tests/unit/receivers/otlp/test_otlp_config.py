from pathlib import Path
from typing import get_args

import pytest
from pydantic import ValidationError

from collector.api import Options
from receivers.otlp import OtlpReceiver


def config(**values):
    return OtlpReceiver.Config.model_validate(values)


def test_a_protocol_with_nothing_after_it_is_on_with_its_defaults():
    protocols = config(protocols={"grpc": None, "http": None}).protocols
    assert protocols.grpc.endpoint == "localhost:4317"
    assert protocols.http.endpoint == "localhost:4318"
    assert config(protocols={"grpc": None}).protocols.http is None


def test_the_collectors_names_are_understood():
    options = config(
        protocols={
            "grpc": {
                "endpoint": "0.0.0.0:4317",
                "max_recv_msg_size_mib": 16,
                "max_concurrent_streams": 16,
                "keepalive": {
                    "server_parameters": {"max_connection_age": "10m", "time": "30s", "timeout": "5s"},
                    "enforcement_policy": {"min_time": "10s", "permit_without_stream": True},
                },
                "tls": {"cert_file": "a", "key_file": "b", "client_ca_file": "c"},
            },
            "http": {"max_request_body_size": "1MiB", "traces_url_path": "/v1/traces"},
        }
    )
    assert options.protocols.grpc.keepalive.server_parameters.max_connection_age == 600 * 10**9
    assert options.protocols.http.max_request_body_size == 1 << 20


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"protocols": {"grpc": {"endpoint": ":4317"}}},
        {"protocols": {"grpc": {"max_requests": 0}}},
        {"protocols": {"http": {"traces_url_path": "v1/traces"}}},
        {"protocols": {"http": {"traces_url_path": "/a\r\nb"}}},
        {"protocols": {"http": {"metrics_url_path": "v1/metrics"}}},
        {"protocols": {"http": {"logs_url_path": ""}}},
        {"protocols": {"grpc": None}, "max_data_points_per_request": 0},
        {"protocols": {"grpc": None}, "max_log_records_per_request": 0},
        {"protocols": {"thrift": None}},
        {"protocols": {"grpc": None}, "auth": {"bearer_tokens": []}},
    ],
)
def test_what_is_refused(values):
    with pytest.raises(ValidationError):
        config(**values)


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ({"protocols": {}}, ("protocols",)),
        (
            {"protocols": {"grpc": {"endpoint": "h:1"}, "http": {"endpoint": "h:1"}}},
            ("protocols", "http", "endpoint"),
        ),
        ({"protocols": {"http": {"logs_url_path": "/v1/traces"}}}, ("protocols", "http", "logs_url_path")),
        ({"protocols": {"http": {"traces_url_path": "/v1/metrics"}}}, ("protocols", "http", "metrics_url_path")),
        ({"protocols": {"grpc": None}, "auth": {"bearer_tokens": ["a", ""]}}, ("auth", "bearer_tokens", 1)),
        ({"protocols": {"grpc": None}, "auth": {"bearer_tokens": ["a b"]}}, ("auth", "bearer_tokens", 0)),
        ({"protocols": {"grpc": None}, "auth": {"bearer_tokens": ["a\n"]}}, ("auth", "bearer_tokens", 0)),
    ],
)
def test_problems(values, path):
    ((where, sentence),) = OtlpReceiver.problems(config(**values))
    assert where == path
    assert sentence


def test_tokens_in_plaintext_on_an_open_address_are_worth_a_warning():
    auth = {"bearer_tokens": ["secret"]}
    values = {"protocols": {"grpc": {"endpoint": "0.0.0.0:1"}, "http": None}, "auth": auth}
    ((where, _),) = OtlpReceiver.warnings(config(**values))
    assert where == ("protocols", "grpc")
    assert OtlpReceiver.warnings(config(protocols={"grpc": {"endpoint": "0.0.0.0:1"}})) == []


def test_a_token_is_never_shown():
    assert "hunter2" not in repr(config(protocols={"grpc": None}, auth={"bearer_tokens": ["hunter2"]}))


def test_the_page_names_every_option():
    page = (Path(__file__).parents[4] / "docs/components/otlp_receiver.md").read_text()

    def names(model):
        for name, field in model.model_fields.items():
            yield name
            for inner in (field.annotation, *get_args(field.annotation)):
                if isinstance(inner, type) and issubclass(inner, Options):
                    yield from names(inner)

    found = set(names(OtlpReceiver.Config))
    assert {"max_connection_age_grace", "client_ca_file", "max_age", "bearer_tokens"} <= found
    assert [name for name in found if name not in page] == []
