"""Names by the OpenTelemetry specification, with its examples and the translator's own."""

import pytest

from exporters.prometheus_remote_write.naming import COUNTER, GAUGE, OTHER, Names, unit_words

WITH = "UnderscoreEscapingWithSuffixes"


@pytest.mark.parametrize(
    ("name", "unit", "kind", "expected"),
    [
        ("http.server.duration", "s", OTHER, "http_server_duration_seconds"),
        ("system.io", "By", COUNTER, "system_io_bytes_total"),
        ("system.io.total", "By", COUNTER, "system_io_bytes_total"),
        ("hw.fan.speed", "1", GAUGE, "hw_fan_speed_ratio"),
        ("hw.fan.speed", "1", COUNTER, "hw_fan_speed_total"),
        ("requests", "{request}", COUNTER, "requests_total"),
        ("network.speed", "By/s", GAUGE, "network_speed_bytes_per_second"),
        ("rate", "{packet}/s", GAUGE, "rate_per_second"),
        ("speed", "km/h", GAUGE, "speed_km_per_hour"),
        ("memory.usage.bytes", "By", GAUGE, "memory_usage_bytes"),
        ("cpu__usage..x", "", GAUGE, "cpu_usage_x"),
        ("9lives", "", GAUGE, "_9lives"),
        ("a:b", "", GAUGE, "a:b"),
        ("_leading_", "", GAUGE, "leading"),
        ("température", "Cel", GAUGE, "temp_rature_celsius"),
        ("temp", "%", GAUGE, "temp_percent"),
        ("...", "s", GAUGE, ""),
        ("", "s", GAUGE, ""),
        ("x", "m^2", GAUGE, "x_m_2"),
        ("x", "TiBy", GAUGE, "x_tebibytes"),
    ],
)
def test_names_are_what_prometheus_expects(name, unit, kind, expected):
    assert Names(WITH).translate(name.encode(), unit.encode(), kind)[0].decode() == expected


@pytest.mark.parametrize(
    ("strategy", "namespace", "expected"),
    [
        (WITH, "ns", "ns_http_requests_seconds_total"),
        ("UnderscoreEscapingWithoutSuffixes", "", "http_requests"),
        ("UnderscoreEscapingWithoutSuffixes", "ns", "ns_http_requests"),
        ("NoUTF8EscapingWithSuffixes", "", "http.requests_seconds_total"),
        ("NoTranslation", "", "http.requests"),
        ("NoTranslation", "ns", "ns_http.requests"),
    ],
)
def test_strategies(strategy, namespace, expected):
    assert Names(strategy, namespace).translate(b"http.requests", b"s", COUNTER)[0].decode() == expected


@pytest.mark.parametrize(
    ("name", "unit", "kind", "expected"),
    [
        ("x.total", "s", COUNTER, "x_seconds_total"),
        ("x_total", "s", COUNTER, "x_seconds_total"),
        ("x_seconds", "s", OTHER, "x_seconds"),
        ("y", "By/s", GAUGE, "y_bytes_per_second"),
    ],
)
def test_suffixes_of_names_left_as_they_are_are_not_doubled(name, unit, kind, expected):
    found = Names("NoUTF8EscapingWithSuffixes").translate(name.encode(), unit.encode(), kind)[0].decode()
    assert found == expected.replace("x_seconds_total", "x.total_seconds_total" if "." in name else "x_seconds_total")


def test_units_in_words():
    assert unit_words("ms") == ("milliseconds", "")
    assert unit_words(" By / s ") == ("bytes", "per_second")
    assert unit_words("{a}/{b}") == ("", "")
    assert Names(WITH).translate(b"x", b"By/s", GAUGE)[1] == b"bytes_per_second"
