"""Every kind of mistake in a YAML file, with the very sentences it gives.

A file in `cases/` ends with comments, `# error LINE: ...` or `# warning LINE: ...`: all that it must give, in order.
"""

from pathlib import Path

import pytest
from config_fakes import Source

from collector.config import load
from collector.errors import ConfigError

CASES = sorted((Path(__file__).parent / "cases").glob("*.yaml"))
ENV = {"HOST": "hunter2-host", "NUMERIC": "0123", "PASSWORD": "hunter2"}


def told(path: Path) -> list[str]:
    try:
        config = load(path, Source(), ENV)
    except ConfigError as error:
        return [f"# error {problem.removeprefix(f'{path}:')}" for problem in error.problems]
    return [f"# warning {warning.removeprefix(f'{path}:')}" for warning in config.warnings]


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_case(path):
    expected = [line for line in path.read_text().splitlines() if line.startswith(("# error ", "# warning "))]
    assert told(path) == expected


def test_good_and_bad_cases_are_told_apart():
    good = {path.stem for path in CASES if not told(path)}
    assert good == {"good_full", "good_merge", "good_readers"}
    assert len(CASES) >= 30


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_no_secret_is_told(path):
    sentences = "".join(told(path))
    assert "hunter2" not in sentences
    assert "4711471147" not in sentences


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_every_sentence_is_one_printable_line(path):
    assert all(sentence.isprintable() for sentence in told(path))
