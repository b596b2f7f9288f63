from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from collector.options import (
    Duration,
    Options,
    Secret,
    Size,
    format_duration,
    format_size,
    option,
    parse_duration,
    parse_size,
    seconds,
)

NS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
BYTES = {
    "": 1, "b": 1, "B": 1, "k": 10**3, "K": 10**3, "KB": 10**3, "kB": 10**3, "KiB": 2**10, "Ki": 2**10,
    "MB": 10**6, "MiB": 2**20, "mib": 2**20, "GB": 10**9, "GiB": 2**30, "TB": 10**12, "TiB": 2**40,
}  # fmt: skip


class Example(Options):
    wait: Duration = option(seconds(10), about="Wait.", gt=0)
    room: Size = option(64 << 20, about="Room.")
    token: Secret = option(Secret("hunter2"), about="Token.")


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("10s", 10**10),
        ("1m30s", 90 * 10**9),
        ("250ms", 25 * 10**7),
        ("1.5h", 5400 * 10**9),
        ("1h1m1s1ms1us1ns", 3661 * 10**9 + 10**6 + 10**3 + 1),
        ("0", 0),
        (0, 0),
        (" 5s ", 5 * 10**9),
        ("2µs", 2000),
        ("0.5ns", 0),
        ("9223372036s", 9223372036 * 10**9),
    ],
)
def test_durations(text, ns):
    assert parse_duration(text) == ns
    assert type(parse_duration(text)) is int


@pytest.mark.parametrize(
    "text",
    ["10", 10, 1.5, "", "s", "-1s", "+1s", "10 s", "1s2", "1d", "ten", None, True, False, [], "1e3s", "1.s", ".5s",
     "٣s", "9223372037s", "9" * 30 + "h", "9" * 5000 + "s", "0." + "9" * 5000 + "s"],
)  # fmt: skip
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ValueError, match="expected"):
        parse_duration(text)


@given(st.integers(0, 2**63 - 1))
def test_a_formatted_duration_is_read_back(ns):
    assert parse_duration(format_duration(ns)) == ns


@given(st.lists(st.tuples(st.integers(0, 10**5), st.sampled_from(sorted(NS))), min_size=1, max_size=5))
def test_a_duration_is_the_sum_of_its_parts(parts):
    text = "".join(f"{number}{unit}" for number, unit in parts)
    assert parse_duration(text) == sum(number * NS[unit] for number, unit in parts)


@given(st.decimals(0, 10**4, places=3), st.sampled_from(sorted(NS)))
def test_a_broken_number_is_rounded_to_nanoseconds(number, unit):
    exact = Fraction(number) * NS[unit]
    assert abs(parse_duration(f"{number}{unit}") - exact) <= max(Fraction(1, 2), exact * Fraction(1, 2**50))


@given(st.decimals(0, 1000, places=2), st.sampled_from(sorted(BYTES)), st.sampled_from(["", " ", "  "]))
def test_sizes(number, unit, blank):
    exact = Fraction(number) * BYTES[unit]
    assert abs(parse_size(f"{number}{blank}{unit}") - exact) <= max(Fraction(1, 2), exact * Fraction(1, 2**50))


@given(st.integers(0, 2**63 - 1))
def test_a_formatted_size_is_read_back(size):
    assert parse_size(format_size(size)) == size
    assert parse_size(size) == size


@pytest.mark.parametrize(
    "text",
    [
        "",
        "MiB",
        "-1",
        -1,
        "1.5.2",
        "ten",
        True,
        None,
        [],
        1.5,
        "1 PB",
        "1iB2",
        "٣",
        2**63,
        "9" * 20,
        "9" * 5000,
        "9" * 39,
    ],
)
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ValueError, match="expected"):
        parse_size(text)


@given(st.text(max_size=30) | st.integers() | st.floats() | st.none() | st.booleans())
def test_anything_is_a_value_or_a_value_error(value):
    for parse in (parse_duration, parse_size):
        try:
            found = parse(value)
        except ValueError as error:
            assert "expected" in str(error)  # noqa: PT017 - both ends are right
        else:
            assert 0 <= found < 2**63


def test_options_are_strict_and_frozen():
    example = Example(wait="1s", room="1KiB")
    assert (example.wait, example.room) == (10**9, 1024)
    with pytest.raises(ValidationError, match="Extra inputs"):
        Example(wiat="1s")
    with pytest.raises(ValidationError, match="frozen"):
        example.wait = 5
    with pytest.raises(ValidationError, match="greater than 0"):
        Example(wait="0s")


def test_they_are_written_as_they_are_read():
    assert Example().model_dump(exclude={"token"}) == {"wait": "10s", "room": "64MiB"}
    assert Example(**Example().model_dump()) == Example()


def test_a_secret_is_not_shown():
    assert "hunter2" not in repr(Example())
    assert "hunter2" not in str(Example())
    assert "hunter2" not in Example().model_dump_json()
    assert Example().token.get_secret_value() == "hunter2"


def test_seconds_are_rounded():
    assert seconds(0.2) == 200_000_000
    assert seconds(1e-9) == 1
    assert type(seconds(3)) is int
