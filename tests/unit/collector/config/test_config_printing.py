import pytest
import yaml
from config_fakes import Source
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector.config import load, to_yaml

TEXT = """\
receivers: {otlp: {protocols: {grpc: {endpoint: "%(endpoint)s"}}}}
exporters:
  otlp:
    endpoint: "${env:BACKEND}"
    token: ${env:CREDIT}
    headers: {authorization: "Bearer ${env:CREDIT}", plain: sesame-open}
    tls: {key: "${file:key.pem}", ca: "%(ca)s"}
    pin: ${env:PIN_TOKEN:-}
service: {pipelines: {traces: {receivers: [otlp], exporters: [otlp]}}}
"""
ENV = {"BACKEND": "backend:4317", "CREDIT": "hunter2", "OTHER": "quiet", "DB_PASSWORD": "swordfish", "PIN_TOKEN": "12"}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "key.pem").write_text("KEYMATERIAL\n")
    return tmp_path


def printed(folder, endpoint="localhost:4317", ca="ca.pem", env=None):
    path = folder / "gateway.yaml"
    path.write_text(TEXT % {"endpoint": endpoint, "ca": ca})
    return to_yaml(load(path, Source(), {**ENV, **(env or {})}))


def exporter(text):
    return yaml.safe_load(text)["exporters"]["otlp"]


def test_defaults_are_filled_in(folder):
    tree = yaml.safe_load(printed(folder))
    assert tree["exporters"]["otlp"]["timeout"] == "5s"
    assert tree["exporters"]["otlp"]["sending_queue"]["queue_size"] == "64MiB"
    assert tree["exporters"]["otlp"]["endpoint"] == "backend:4317"
    assert tree["service"]["telemetry"]["metrics"]["address"] == "localhost:8888"
    assert tree["service"]["pipelines"] == {"traces": {"receivers": ["otlp"], "processors": [], "exporters": ["otlp"]}}


def test_secret_fields_are_redacted(folder):
    found = exporter(printed(folder))
    assert found["token"] == "[REDACTED]"
    assert found["headers"] == {"authorization": "[REDACTED]", "plain": "[REDACTED]"}
    assert found["tls"]["key"] == "[REDACTED]"


def test_a_value_from_a_variable_named_like_a_secret_is_redacted_wherever_it_stands(folder):
    assert exporter(printed(folder))["pin"] == "[REDACTED]"
    text = printed(folder, ca="x-${env:DB_PASSWORD}")
    assert exporter(text)["tls"]["ca"] == "[REDACTED]"
    assert "swordfish" not in text


def test_a_variable_that_fills_a_secret_is_one_everywhere(folder):
    text = printed(folder, endpoint="http://${env:CREDIT}:1")
    assert "hunter2" not in text


def test_a_text_that_holds_a_secret_hides_it(folder):
    text = printed(folder, endpoint="http://x/?t=hunter2&u=sesame-open", ca="/KEYMATERIAL/x")
    grpc = yaml.safe_load(text)["receivers"]["otlp"]["protocols"]["grpc"]
    assert grpc["endpoint"] == "http://x/?t=[REDACTED]&u=[REDACTED]"
    assert exporter(text)["tls"]["ca"] == "/[REDACTED]/x"


def test_the_password_of_a_url_is_hidden(folder):
    text = printed(folder, endpoint="https://user:opensesame@host:1/path")
    assert "https://[REDACTED]@host:1/path" in text
    assert "opensesame" not in text


def test_a_file_is_a_secret_even_in_an_open_field(folder):
    (folder / "ca").write_text("CAMATERIAL")
    text = printed(folder, ca="${file:ca}")
    assert exporter(text)["tls"]["ca"] == "[REDACTED]"
    assert "CAMATERIAL" not in text


def test_an_empty_secret_is_shown_as_empty(folder):
    assert exporter(printed(folder, env={"CREDIT": ""}))["token"] == ""


def test_what_is_printed_loads_to_the_same(folder):
    path = folder / "gateway.yaml"
    path.write_text(TEXT % {"endpoint": "cost$$:1", "ca": "$${env:NOT}"})
    first = load(path, Source(), {**ENV, "CREDIT": "[REDACTED]", "PIN_TOKEN": ""})
    (folder / "key.pem").write_text("[REDACTED]")
    text = to_yaml(first).replace("pin: '[REDACTED]'", "pin: null")
    path.write_text(text.replace("[REDACTED]", "$${X}"))
    again = load(path, Source(), {})
    assert again.receivers["otlp"].config == first.receivers["otlp"].config
    assert again.receivers["otlp"].config.protocols.grpc.endpoint == "cost$:1"
    assert again.exporters["otlp"].config.tls.ca == "${env:NOT}"
    assert again.exporters["otlp"].config.sending_queue == first.exporters["otlp"].config.sending_queue
    assert again.service == first.service
    assert to_yaml(again) == text.replace("pin: null", "pin: null")


@pytest.mark.parametrize("text", ["1e5", "0o17", "0x1f", "yes", "1:30", "null", "", "5", "a: b", "#x", "$$1e5", "~"])
def test_a_text_stays_a_text(folder, text):
    path = folder / "gateway.yaml"
    path.write_text(TEXT % {"endpoint": "localhost:1", "ca": text})
    first = load(path, Source(), ENV)
    path.write_text(to_yaml(first).replace("pin: '[REDACTED]'", "pin: 5"))
    assert load(path, Source(), {}).exporters["otlp"].config.tls.ca == text.replace("$$", "$")


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(secret=st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=126), min_size=6, max_size=20))
def test_no_secret_is_ever_printed(folder, secret):
    secret = f"~{secret}~"
    (folder / "key.pem").write_text(secret + "\n")
    text = printed(
        folder, endpoint="http://${env:CREDIT}/x", ca="${env:A_TOKEN}", env={"CREDIT": secret, "A_TOKEN": secret}
    )
    assert secret not in text
    assert secret not in yaml.safe_load(text).__repr__()
    assert text.count("[REDACTED]") >= 5
