"""`butterfly scrub`: what would change is told, what it was is not."""

import json

import pytest
from click.testing import CliRunner

from collector.cli import main

SECRETS = (
    "ann@example.com",
    "u-0000001",
    "write to my landlord",
    "hunter2",
    "10.9.8.7",
    "bob@example.org",
    "TOPSECRET",
)


def attribute(key, **value):
    return {"key": key, "value": value}


TRACES = {
    "resourceSpans": [
        {
            "resource": {"attributes": [attribute("host.ip", stringValue="10.9.8.7")]},
            "scopeSpans": [
                {
                    "spans": [
                        {
                            "name": "GET ann@example.com",
                            "attributes": [
                                attribute("user.id", stringValue="u-0000001"),
                                attribute("gen_ai.prompt", stringValue="write to my landlord"),
                                attribute("password", stringValue="hunter2"),
                                attribute("plain", stringValue="plain"),
                                attribute("list", arrayValue={"values": [{"stringValue": "bob@example.org"}]}),
                            ],
                        }
                    ]
                }
            ],
        }
    ]
}
LOGS = {"resourceLogs": [{"scopeLogs": [{"logRecords": [{"body": {"stringValue": "mail ann@example.com"}}]}]}]}
METRICS = {"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"name": "a", "description": "bob@example.org"}]}]}]}
CONFIG = """
receivers: {otlp: {protocols: {grpc: {endpoint: "localhost:0"}}}}
processors:
  pii_scrubber: {pepper: 0123456789abcdef, rules: [{keys: [plain], action: delete}]}
  redaction/other: {allow_all_keys: true, blocked_values: [TOPSECRET]}
exporters: {debug: {}}
service: {pipelines: {traces: {receivers: [otlp], processors: [pii_scrubber, redaction/other], exporters: [debug]}}}
"""


def scrub(*arguments, text):
    return CliRunner().invoke(main, ["scrub", *arguments], input=text)


def test_it_explains_without_the_secrets():
    done = scrub("--explain", text=json.dumps(TRACES))
    assert done.exit_code == 0
    assert not any(secret in done.output for secret in SECRETS)
    lines = [line.split("  ")[:2] for line in done.output.splitlines()]
    span = "resourceSpans[0].scopeSpans[0].spans[0]"
    assert lines == [
        ['resourceSpans[0].resource.attributes["host.ip"]', "mask"],
        [f"{span}.name", "email"],
        [f'{span}.attributes["user.id"]', "hash"],
        [f'{span}.attributes["gen_ai.prompt"]', "length"],
        [f'{span}.attributes["password"]', "redact"],
        [f'{span}.attributes["list"][0]', "email"],
        ["6 values would change"],
    ]
    assert 'text of 19 characters -> "GET [email]"' in done.output


def test_it_scrubs():
    done = scrub(text=json.dumps(TRACES))
    assert done.exit_code == 0
    assert not any(secret in done.output for secret in SECRETS)
    assert '"plain"' in done.output
    again = scrub("--explain", text=done.output)
    assert [line.split("  ")[1] for line in again.output.splitlines()[:-1]] == ["hash"]


def test_every_signal_one_on_each_line(tmp_path):
    file = tmp_path / "requests.jsonl"
    file.write_text("\n".join(map(json.dumps, (LOGS, METRICS, TRACES))) + "\n")
    done = scrub(str(file), text="")
    assert [next(iter(json.loads(line))) for line in done.output.splitlines()] == [*LOGS, *METRICS, *TRACES]
    assert not any(secret in done.output for secret in SECRETS)
    told = scrub("--explain", str(file), text="").output
    assert "logRecords[0].body  email" in told
    assert "metrics[0].description  email" in told


def test_a_configuration_decides(tmp_path):
    file = tmp_path / "gateway.yaml"
    file.write_text(CONFIG)
    done = scrub("--explain", "-c", str(file), "--processor", "pii_scrubber", text=json.dumps(TRACES))
    assert 'attributes["plain"]  delete  text of 5 characters -> removed' in done.output
    other = TRACES | {"resourceSpans": [{"schemaUrl": "a TOPSECRET b"}]}
    done = scrub("--explain", "-c", str(file), "--processor", "redaction/other", text=json.dumps(other))
    assert done.output == (
        'resourceSpans[0].schemaUrl  blocked  text of 13 characters -> "a **** b"\n1 values would change\n'
    )


@pytest.mark.parametrize("arguments", [("-c", "FILE"), ("-c", "FILE", "--processor", "none"), ("--processor", "x")])
def test_which_processor_must_be_clear(tmp_path, arguments):
    file = tmp_path / "gateway.yaml"
    file.write_text(CONFIG)
    done = scrub(*(str(file) if each == "FILE" else each for each in arguments), text="{}")
    assert done.exit_code == 1
    assert done.output.startswith("error: ")


@pytest.mark.parametrize(
    "text", ["", "TOPSECRET", "[]", '{"TOPSECRET": 1}', '{"resourceSpans": "TOPSECRET"}', '{"resourceSpans": [{}]']
)
def test_bad_input_is_refused_and_not_repeated(text):
    done = scrub(text=text)
    assert done.exit_code == (0 if text == "" else 1)
    assert "TOPSECRET" not in done.output
    assert "Traceback" not in done.output
