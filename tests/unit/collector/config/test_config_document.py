import math

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.config import document
from collector.config.document import parse, typed
from collector.config.problems import Problems
from collector.config.substitution import expand
from collector.errors import ConfigError


def read(text, env=None):
    problems = Problems("f.yaml")
    found = parse(text, lambda scalar: expand(scalar, env or {}, None), problems)
    problems.raise_errors()
    return found, problems


def tree(text, env=None):
    return read(text, env)[0].tree


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("~", None),
        ("null", None),
        ("true", True),
        ("FALSE", False),
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("off", "off"),
        ("0", 0),
        ("-17", -17),
        ("+5", 5),
        ("0x1F", 31),
        ("0o17", 15),
        ("017", "017"),
        ("0123", "0123"),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("2001-01-01", "2001-01-01"),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("-1.", -1.0),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("localhost:4317", "localhost:4317"),
        ("1.2.3", "1.2.3"),
        ("9" * 5000, "9" * 5000),
        ("1e99999", "1e99999"),
    ],
)
def test_plain_scalars_are_typed_by_the_core_schema(text, value):
    assert typed(text) == value
    assert type(typed(text)) is type(value)


def test_not_a_number():
    assert math.isnan(typed(".nan"))


def test_quoted_scalars_and_keys_are_texts():
    assert tree("a: '5'\nb: \"true\"\n4317: x\ntrue: y\n~: z") == {
        "a": "5",
        "b": "true",
        "4317": "x",
        "true": "y",
        "~": "z",
    }


def test_a_whole_expression_is_typed_and_a_part_is_text():
    env = {"N": "5", "T": "true", "E": "", "L": "[a, b]"}
    text = 'a: ${env:N}\nb: "${env:N}"\nc: ${env:N}0\nd: ${env:T}\ne: ${env:E}\nf: ${env:L}\ng: !!str ${env:N}\nh: $$5'
    assert tree(text, env) == {"a": 5, "b": 5, "c": "50", "d": True, "e": None, "f": "[a, b]", "g": "5", "h": "$5"}


def test_keys_are_not_expanded():
    assert tree("${env:A}: 1", {"A": "x"}) == {"${env:A}": 1}


def test_lines_are_those_of_keys_and_items():
    _, problems = read("a:\n  b:\n    - x\n    - y: 1\n")
    assert problems.lines[("a", "b")] == 2
    assert problems.lines[("a", "b", 1, "y")] == 4
    assert problems.line(("a", "b", 1, "missing", "deeper")) == 4


def test_merge_keys_give_way_to_what_stands_there_and_the_first_wins():
    text = "x: &x {a: 1, b: 1}\ny: &y {b: 2, c: 2}\nz: {<<: [*x, *y], c: 3}\nw: &w {<<: *x, d: 4}\nv: {<<: *w}"
    found = tree(text)
    assert found["z"] == {"a": 1, "b": 1, "c": 3}
    assert found["v"] == {"a": 1, "b": 1, "d": 4}


def test_a_quoted_merge_key_is_a_key():
    assert tree('a: {"<<": 5}') == {"a": {"<<": 5}}


def test_aliases_are_separate_copies():
    found = tree("a: &a {b: [1]}\nc: *a")
    found["a"]["b"].append(2)
    assert found["c"] == {"b": [1]}


LAUGHS = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
MERGES = "a0: &a0 {}\n" + "".join(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 12))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (LAUGHS, "more than 100000 values"),
        (MERGES, "more than 100000 values"),
        ("a: " + "[" * 5000, "nested more than 64 levels"),
        ("a: " + "{b: " * 5000, "nested more than 64 levels"),
        ("\n".join(f"{'  ' * n}a:" for n in range(200)), "nested more than 64 levels"),
        ("a: &a {<<: *a}", "alias leads back|too deeply"),
        ("a: &a {<<: &b {<<: *a}}", "alias leads back|too deeply"),
        ("a: \x01", "character that YAML doesn't allow"),
        ("%YAML 9.9\n---\na: 1", "not valid YAML"),
    ],
)
@pytest.mark.timeout(20)
def test_hostile_documents_end_quickly(text, reason):
    with pytest.raises(ConfigError, match=reason):
        read(text)


def test_what_substitution_brings_in_is_bounded():
    text = "\n".join(f"k{n}: ${{env:A}}" for n in range(50))
    with pytest.raises(ConfigError, match="exceed 4 MiB"):
        read(text, {"A": "x" * 100_000})


def test_depth_bound_is_exact():
    def nested(levels):
        return "a: " + "[" * levels + "]" * levels

    assert tree(nested(document.MAX_DEPTH - 1))
    with pytest.raises(ConfigError):
        read(nested(document.MAX_DEPTH))


# Without line separators of Unicode, which PyYAML writes into keys and doesn't read back.
texts = st.text(
    alphabet=st.characters(codec="utf-8", exclude_categories=("C", "Z"), exclude_characters="$"), max_size=6
)
# And without what is a number in YAML 1.2, but a text in the 1.1 that PyYAML writes.
texts = texts.filter(lambda text: isinstance(typed(text), str))
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | texts | st.just("two words: #1\n"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(st.dictionaries(texts, values, min_size=1, max_size=4))
def test_what_another_writer_writes_is_read_back(value):
    text = yaml.safe_dump(value, allow_unicode=True)
    assert tree(text) == value


@settings(deadline=None)
@given(st.text(alphabet="ab: -[]{}&*!|>'\"%@#?,\n$\t\x85é", max_size=60))
def test_any_text_is_read_or_refused(text):
    try:
        found = tree(text)
    except ConfigError as error:
        found = error
    assert isinstance(found, dict) or found.problems
