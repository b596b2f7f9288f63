"""Whatever is wrong with a configuration, what it says of it shows no secret."""

import json

import pytest
from config_fakes import Source
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector.config import load, to_yaml
from collector.config.messages import found_text
from collector.errors import ConfigError

SECRET = "hunter2-4711"

shapes = st.recursive(
    st.sampled_from([SECRET, f"x{SECRET}y", f"{SECRET}\n{SECRET}", f" {SECRET} ", f"https://u:{SECRET}@h"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "key", "value"]), inner),
    max_leaves=4,
)
secret_places = st.sampled_from([("token",), ("headers",), ("headers", "authorization"), ("tls",), ("tls", "key")])
all_places = st.sampled_from(
    [
        *[(name,) for name in ("endpoint", "token", "headers", "tls", "pin", "mode", "timeout", "sending_queue")],
        ("sending_queue", "queue_size"),
        ("retry_on_failure", "enabled"),
        ("headers", "authorization"),
    ]
)


def told(tmp_path, place, value, env):
    options = {"endpoint": "localhost:1"}
    inside = options
    for part in place[:-1]:
        inside = inside.setdefault(part, {})
    inside[place[-1]] = value
    path = tmp_path / "gateway.yaml"
    # JSON is YAML.
    path.write_text(
        json.dumps(
            {
                "receivers": {"otlp": None},
                "exporters": {"otlp": options},
                "service": {"pipelines": {"traces": {"receivers": ["otlp"], "exporters": ["otlp"]}}},
            }
        )
    )
    try:
        config = load(path, Source(), env)
    except ConfigError as error:
        return str(error)
    return "".join([repr(config), str(config), to_yaml(config), *config.warnings])


on_disk = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@on_disk
@given(place=secret_places, value=shapes)
def test_what_stands_where_a_secret_belongs_is_never_shown(tmp_path, place, value):
    assert SECRET not in told(tmp_path, place, value, {})


@on_disk
@given(
    place=all_places,
    around=st.sampled_from(["{}", "x{}", "{}:1", "https://{}/"]),
    secret=st.sampled_from([SECRET, "471147114711", "4711.4711", f"[{SECRET}]", f"{{a: {SECRET}}}"]),
)
def test_what_comes_from_a_secret_variable_is_never_shown(tmp_path, place, around, secret):
    found = told(tmp_path, place, around.format("${env:THE_TOKEN}"), {"THE_TOKEN": secret})
    if place == ("endpoint",):
        # An endpoint is no secret: its value stands in the object. What is printed still hides it.
        found = found.replace(f"endpoint='{around.format(secret)}'", "")
    assert secret not in found
    assert SECRET not in found


@pytest.mark.parametrize("secret", ["x", "10s", "5"])
def test_short_secrets_are_hidden_where_they_stand(tmp_path, secret):
    path = tmp_path / "gateway.yaml"
    path.write_text(
        "receivers: {otlp: }\n"
        "exporters: {otlp: {endpoint: 'localhost:1', token: '${env:T}', pin: 5, timeout: 10s}}\n"
        "service: {pipelines: {traces: {receivers: [otlp], exporters: [otlp]}}}\n"
    )
    text = to_yaml(load(path, Source(), {"T": secret}))
    assert "token: '[REDACTED]'" in text
    assert "timeout: 10s" in text
    assert "pin: 5" in text


@pytest.mark.parametrize("url", [f"https://user:{SECRET}@host:1", f"https://{SECRET}@h", f"x://u:{SECRET}@@h/@p"])
def test_a_password_in_an_address_that_is_not_taken_is_not_told(url):
    text = found_text(url, None, shown=True)
    assert SECRET not in text
    assert text.startswith(("'https://[REDACTED]@", "'x://[REDACTED]@"))
