from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.config.substitution import MAX_FILE, Expansion, SubstitutionError, expand

ENV = {"A": "alpha", "EMPTY": "", "DOLLAR": "$A ${env:A} $$"}
HERE = Path()


@pytest.mark.parametrize(
    ("text", "expected", "whole"),
    [
        ("${env:A}", "alpha", True),
        ("${A}", "alpha", True),
        ("x${env:A}", "xalpha", False),
        ("${env:A}${env:A}", "alphaalpha", False),
        ("${env:A} ", "alpha ", False),
        ("${env:NO:-default}", "default", True),
        ("${NO:-default}", "default", True),
        ("${env:NO:-}", "", True),
        ("${env:NO:-http://x:1/a:-b}", "http://x:1/a:-b", True),
        ("${env:A:-default}", "alpha", True),
        ("${env:EMPTY:-default}", "", True),
        ("${env:DOLLAR}", "$A ${env:A} $$", True),
        ("$$", "$", False),
        ("$${env:A}", "${env:A}", False),
        ("$$$${A}", "$${A}", False),
        ("$$${env:A}", "$alpha", False),
        ("^a$", "^a$", False),
        ("$A", "$A", False),
        ("no expression", "no expression", False),
    ],
)
def test_expands(text, expected, whole):
    found = expand(text, ENV, HERE)
    assert (found.text, found.whole) == (expected, whole)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("${env:NO}", "the variable NO is not set"),
        ("${NO}", "the variable NO is not set"),
        ("${env:A", "no closing brace"),
        ("${}", "isn't understood"),
        ("${env:}", "isn't understood"),
        ("${env:1A}", "isn't understood"),
        ("${env:A-b}", "isn't understood"),
        ("${vault:x}", "isn't understood"),
        ("${file:}", "names no file"),
        ("${file:missing}", "can't be read"),
        ("${file:a\0b}", "can't be read"),
        ("${env:A:-${env:B}}", "can't hold another"),
    ],
)
def test_refuses(text, reason):
    with pytest.raises(SubstitutionError, match=reason):
        expand(text, ENV, HERE)


def test_sources_hold_no_default():
    assert expand("${env:A}-${B:-hunter2}", ENV, HERE).sources == ("${env:A}", "${env:B}")


def test_a_file_is_read_beside_the_yaml_without_its_last_newline(tmp_path):
    (tmp_path / "token").write_bytes(b"one\ntwo ${env:A}\r\n")
    assert expand("${file:token}", ENV, tmp_path) == Expansion("one\ntwo ${env:A}", True, ("${file:token}",))


def test_a_file_is_bounded_and_text(tmp_path):
    (tmp_path / "big").write_bytes(b"x" * (MAX_FILE + 1))
    (tmp_path / "full").write_bytes(b"x" * MAX_FILE)
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    assert len(expand("${file:full}", ENV, tmp_path).text) == MAX_FILE
    with pytest.raises(SubstitutionError, match="larger than 64 KiB"):
        expand("${file:big}", ENV, tmp_path)
    with pytest.raises(SubstitutionError, match="not UTF-8"):
        expand("${file:binary}", ENV, tmp_path)
    with pytest.raises(SubstitutionError, match="can't be read"):
        expand(f"${{file:{tmp_path}}}", ENV, HERE)


names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,9}", fullmatch=True)
plain = st.text().filter(lambda text: "$" not in text)


@given(before=plain, name=names, value=st.text(), after=plain)
def test_a_value_is_put_in_as_it_is_and_never_expanded_again(before, name, value, after):
    found = expand(f"{before}${{env:{name}}}{after}", {name: value}, HERE)
    assert found.text == before + value + after
    assert found.whole == (not before and not after)


@given(st.text())
def test_a_doubled_dollar_is_a_dollar(text):
    assert expand(text.replace("$", "$$"), {}, HERE) == Expansion(text, False, ())


@given(st.text(alphabet="${}:-envA x"))
def test_any_text_is_expanded_or_refused(text):
    try:
        found = expand(text, {"A": "1"}, HERE)
    except SubstitutionError:
        assert "${" in text
    else:
        assert found.whole <= text.endswith("}")


@given(name=names, default=st.text().filter(lambda text: "}" not in text and "${" not in text))
def test_a_default_is_taken_when_the_variable_is_unset(name, default):
    assert expand(f"${{env:{name}:-{default}}}", {}, HERE).text == default
