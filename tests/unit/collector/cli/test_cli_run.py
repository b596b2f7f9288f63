"""`butterfly run` up to the moment when the gateway runs, and what is left of it afterwards."""

import asyncio
import logging
import os
import signal
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from collector.cli import main
from collector.cli import run as run_module
from collector.errors import ConfigError, StorageError

GOOD = """\
receivers: {otlp: {protocols: {http: {endpoint: "127.0.0.1:0"}}}}
exporters: {debug: , debug/b: }
service:
  data_dir: %s
  telemetry: {metrics: {address: "127.0.0.1:0"}, logs: {level: error, encoding: json}}
  pipelines:
    traces/a: {receivers: [otlp], exporters: [debug]}
    traces/b: {receivers: [otlp], exporters: [debug/b]}
"""


@pytest.fixture
def root():
    """The root logger, put back as it was."""
    logger = logging.getLogger()
    handlers, level = logger.handlers[:], logger.level
    logger.handlers = []
    yield logger
    logger.handlers, logger.level = handlers, level


class FakeService:
    """What the command made, and what it does when it is run."""

    made = None
    outcome = 0

    def __init__(self, config, reload=None, **more):
        self.config, self.reload, self.more = config, reload, more
        self.ran = False
        FakeService.made = self

    async def run(self):
        self.ran = True
        await asyncio.sleep(0)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


@pytest.fixture
def service(monkeypatch, root):
    FakeService.made, FakeService.outcome = None, 0
    monkeypatch.setattr(run_module, "Service", FakeService)
    return FakeService


@pytest.fixture
def good(tmp_path):
    file = tmp_path / "gateway.yaml"
    file.write_text(GOOD % tmp_path)
    return file


def run(*arguments):
    return CliRunner().invoke(main, ["run", *arguments])


def test_the_services_word_is_the_exit_code(service, good):
    for code in (0, 1):
        service.outcome = code
        found = run("-c", str(good))
        assert (found.exit_code, found.output) == (code, "")
        assert service.made.ran
        assert list(service.made.config.pipelines) == ["traces/a", "traces/b"]


def test_a_wrong_file_is_2_and_every_problem_is_told(service, good):
    text = good.read_text().replace("debug/b: }", "debug/b: {verbosty: 1}}")
    good.write_text(text.replace("{receivers: [otlp], exporters: [debug]}", "{receivers: [oltp], exporters: [debug]}"))
    found = run("-c", str(good))
    assert found.exit_code == 2
    assert found.stdout == ""
    first, second = found.stderr.splitlines()
    assert f"{good}:2:" in first
    assert "verbosty" in first
    assert f"{good}:7:" in second
    assert "oltp" in second
    assert service.made is None


def test_a_missing_file_and_a_missing_option_are_2(service, tmp_path):
    missing = run("-c", str(tmp_path / "no.yaml"))
    assert missing.exit_code == 2
    assert "no.yaml: can't be read: No such file or directory" in missing.stderr
    assert run().exit_code == 2
    assert service.made is None


def test_warnings_are_told_and_do_not_stop_it(service, good):
    good.write_text((GOOD % good.parent).replace("debug/b: }", "debug/b: , debug/unused: }"))
    found = run("-c", str(good))
    assert found.exit_code == 0
    assert found.stderr.startswith(f"warning: {good}:2: exporters.debug/unused: ")
    assert service.made.ran


def test_pipelines_picks_those_named(service, good):
    assert run("-c", str(good), "--pipelines", " traces/b ").exit_code == 0
    assert list(service.made.config.pipelines) == ["traces/b"]
    assert list(service.made.config.exporters) == ["debug/b"]
    assert list(service.made.reload().pipelines) == ["traces/b"]  # a reload picks the same


def test_a_pipeline_that_is_not_there_is_2(service, good):
    found = run("-c", str(good), "--pipelines", "traces/c")
    assert found.exit_code == 2
    assert "there is no pipeline 'traces/c'" in found.stderr


def test_a_reload_reads_the_file_as_it_is_then(service, good):
    run("-c", str(good))
    good.write_text(good.read_text().replace("    traces/b: {receivers: [otlp], exporters: [debug/b]}\n", ""))
    assert list(service.made.reload().pipelines) == ["traces/a"]
    good.write_text("nonsense")
    with pytest.raises(ConfigError):
        service.made.reload()


@pytest.mark.parametrize(
    "error", [OSError(98, "address already in use"), StorageError("the log is another's"), ConfigError(["one", "two"])]
)
def test_what_cannot_start_says_why_and_is_1(service, good, error):
    service.outcome = error
    found = run("-c", str(good))
    assert found.exit_code == 1
    assert found.stderr == f"butterfly can't start: {error}\n"


def test_the_log_is_as_the_file_says(service, good, root):
    run("-c", str(good), "--no-screen")
    assert root.level == logging.ERROR
    assert type(root.handlers[0].formatter).__name__ == "JsonFormatter"


def test_with_a_screen_the_log_is_on_it(service, good, root):
    run("-c", str(good), "--screen")
    assert type(root.handlers[0]).__name__ == "RichHandler"


@pytest.fixture
def generators(monkeypatch):
    """The generators that were started, faked."""
    started = []

    class FakeProcess:
        def __init__(self, command, **files):
            self.command, self.files, self.ended = command, files, False
            started.append(self)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            assert self.ended

        def terminate(self):
            assert FakeService.made.ran
            self.ended = True

    monkeypatch.setattr(run_module.subprocess, "Popen", FakeProcess)
    return started


def test_demo_starts_the_generator_quietly_and_ends_it(service, good, generators):
    assert run("-c", str(good)).exit_code == 0
    assert generators == []
    assert run("-c", str(good), "--demo").exit_code == 0
    (generator,) = generators
    assert generator.command[:3] == ["nice", "-n", "5"]
    assert "generate" in generator.command
    assert generator.command[generator.command.index("--rate") + 1] == "2000"
    assert generator.command[generator.command.index("--signals") + 1] == "traces"
    assert set(generator.files) == {"stdin", "stdout", "stderr"}
    service.outcome = OSError("in use")
    assert run("-c", str(good), "--demo").exit_code == 1
    assert generators[1].ended


def test_demo_sends_what_receivers_take(service, good, generators):
    text = good.read_text().replace("traces/a", "logs").replace("traces/b", "metrics/b")
    good.write_text(text)
    assert run("-c", str(good), "--demo").exit_code == 0
    assert generators[0].command[generators[0].command.index("--signals") + 1] == "metrics,logs"


def test_demo_without_a_receiver_is_told(service, good, generators):
    text = good.read_text().replace("receivers: [otlp]", "receivers: [disk]", 1)
    text = text.replace("receivers: [otlp], exporters: [debug/b]", "receivers: [otlp], exporters: [disk]")
    good.write_text(text.replace("exporters: {debug", "connectors: {disk: }\nexporters: {debug"))
    done = run("-c", str(good), "--pipelines", "traces/a", "--demo")
    assert (done.exit_code, generators) == (0, [])
    assert "--demo has no effect" in done.output


def test_a_stop_that_hangs_is_ended(monkeypatch, caplog):
    timers, codes = [], []

    class FakeTimer:
        def __init__(self, seconds, act):
            self.seconds, self.act, self.daemon, self.started = seconds, act, False, False
            timers.append(self)

        def start(self):
            self.started = True

    monkeypatch.setattr(run_module, "threading", SimpleNamespace(Timer=FakeTimer))
    monkeypatch.setattr(run_module.os, "_exit", codes.append)
    run_module._end_in_time()
    (timer,) = timers
    assert (timer.started, timer.daemon) == (True, True)  # a stop in time isn't held up by its watchdog
    assert timer.seconds < 9
    timer.act()
    assert codes == [1]
    assert "the stop takes too long" in caplog.text


def test_a_real_one_runs_until_it_is_told_to_stop(good, root, monkeypatch):
    """The file's own gateway, in this process, ended by its signal; without the watchdog, which would end the tests."""
    watched = []
    monkeypatch.setattr(run_module, "_end_in_time", lambda: watched.append(1))
    before = signal.getsignal(signal.SIGTERM)
    ready = []

    class Stops(logging.Handler):
        def emit(self, record):
            if record.getMessage().startswith("ready") and not ready:
                ready.append(record.getMessage())
                os.kill(os.getpid(), signal.SIGTERM)

    good.write_text(good.read_text().replace("level: error", "level: info"))
    handler = Stops()
    logger = logging.getLogger("butterfly.service")
    logger.addHandler(handler)
    try:
        found = run("-c", str(good), "--no-screen")
    finally:
        logger.removeHandler(handler)
        signal.signal(signal.SIGTERM, before)
    assert found.exit_code == 0, found.output
    assert (ready, watched) == (["ready: traces/a, traces/b"], [1])
