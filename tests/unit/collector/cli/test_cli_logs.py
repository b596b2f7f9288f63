"""The gateway's own log: JSON lines that a machine reads, and no telemetry in them."""

import io
import json
import logging
import re
import time

import pytest
from rich.console import Console

from collector.cli.logs import JsonFormatter, configure

RFC3339_MS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}(Z|[+-]\d\d:\d\d)")


@pytest.fixture
def root():
    """The root logger, put back as it was."""
    logger = logging.getLogger()
    handlers, level = logger.handlers[:], logger.level
    logger.handlers = []
    yield logger
    for handler in logger.handlers:
        handler.close()
    logger.handlers, logger.level = handlers, level


@pytest.fixture
def lines(root, monkeypatch):
    """What `configure("info", "json", None)` writes, parsed."""
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    configure("info", "json", None)
    return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


def test_every_event_is_one_json_line(lines):
    log = logging.getLogger("butterfly.disk")
    log.info("opened %d segments", 3)
    log.warning('two\nlines, a "quote" and \x1b[31mcolour')
    log.critical("the end")
    entries = lines()
    assert [(entry["level"], entry["component"], entry["message"]) for entry in entries] == [
        ("info", "butterfly.disk", "opened 3 segments"),
        ("warning", "butterfly.disk", 'two\nlines, a "quote" and \x1b[31mcolour'),
        ("critical", "butterfly.disk", "the end"),
    ]
    assert all(set(entry) == {"timestamp", "level", "component", "message"} for entry in entries)


def test_the_time_is_rfc_3339_in_milliseconds():
    record = logging.LogRecord("x", logging.INFO, "", 0, "message", (), None)
    for created, text in ((0.0, "1970-01-01T00:00:00.000"), (1767225599.9994, "2025-12-31T23:59:59.999")):
        record.created = created
        stamp = json.loads(JsonFormatter().format(record))["timestamp"]
        assert RFC3339_MS.fullmatch(stamp)
        assert stamp.startswith(text)
        assert stamp.endswith(("Z", "+00:00"))


def test_the_time_does_not_depend_on_the_time_zone(monkeypatch):
    record = logging.LogRecord("x", logging.INFO, "", 0, "message", (), None)
    before = JsonFormatter().format(record)
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Kathmandu")
        time.tzset()
        assert JsonFormatter().format(record) == before
    time.tzset()


def test_an_exception_is_its_kind_alone(lines):
    secret = "user.email=u1@example.org"
    try:
        int(secret)
    except ValueError:
        logging.getLogger("butterfly.graph").exception("a pipeline failed")
    (entry,) = lines()
    assert entry["error"] == "ValueError"
    assert secret not in json.dumps(entry)
    assert "Traceback" not in json.dumps(entry)


def test_no_exception_is_no_error(lines):
    logging.getLogger("butterfly").error("said without one", exc_info=(None, None, None))
    assert "error" not in lines()[0]


@pytest.mark.parametrize(("level", "heard"), [("debug", 4), ("info", 3), ("warn", 2), ("error", 1)])
def test_the_level_is_the_configurations(root, monkeypatch, level, heard):
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    configure(level, "json", None)
    for each in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
        logging.getLogger("butterfly").log(each, "word")
    assert len(stream.getvalue().splitlines()) == heard


def test_text_says_when_how_grave_who_and_what(root, monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    configure("info", "console", None)
    logging.getLogger("butterfly.otlp").warning("not delivering")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \S+ WARNING butterfly\.otlp: not delivering\n", stream.getvalue())


def test_beside_the_screen_the_log_goes_to_its_console_and_is_no_markup(root):
    console = Console(file=io.StringIO(), width=120)
    configure("info", "json", console)
    logging.getLogger("butterfly").info("[bold]as it is[/bold]")
    assert "butterfly: [bold]as it is[/bold]" in console.file.getvalue()


def test_configured_twice_everything_is_said_once(root, monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    for _ in range(2):
        configure("info", "json", None)
    logging.getLogger("butterfly").info("word")
    assert len(stream.getvalue().splitlines()) == 1


@pytest.mark.parametrize("library", ["aiohttp.server", "grpc.server", "hpack.hpack", "asyncio"])
def test_a_librarys_words_are_not_repeated(lines, library):
    log = logging.getLogger(library)
    for _ in range(3):
        try:
            int("hunter2")
        except ValueError:
            log.exception("it was %s", "hunter2")
    log.info("hunter2")
    (entry,) = lines()
    assert (entry["level"], entry["component"]) == ("error", library)
    assert "hunter2" not in json.dumps(entry)
    assert "ValueError" not in json.dumps(entry)


def test_debug_logging_shows_what_asyncio_caught_and_no_header(root, monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    configure("debug", "json", None)
    logging.getLogger("asyncio").error("never retrieved")
    logging.getLogger("hpack.hpack").debug("Adding authorization: hunter2")
    logging.getLogger("hpack.hpack").error("Adding authorization: hunter2")
    logging.getLogger("my_processor").debug("mine")
    assert "never retrieved" in stream.getvalue()
    assert "mine" in stream.getvalue()
    assert "hunter2" not in stream.getvalue()
