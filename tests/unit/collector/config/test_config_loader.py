import os
from pathlib import Path

import pytest
from config_fakes import DiskConnector, OtlpExporter, OtlpReceiver, Sampler, Source

from collector.api import Reader, Signal
from collector.component.kind import Kind
from collector.config import load, select
from collector.config.document import MAX_FILE
from collector.errors import ConfigError

FULL = Path(__file__).parent / "cases" / "good_full.yaml"
ENV = {"HOST": "example", "NUMERIC": "0123"}
MINIMAL = """\
receivers: {otlp: }
exporters: {otlp: {endpoint: "localhost:1"%s}}
service: {%spipelines: {traces: {receivers: [otlp], exporters: [otlp]}}}
"""


def write(tmp_path, text):
    path = tmp_path / "gateway.yaml"
    path.write_text(text)
    return path


def minimal(tmp_path, exporter="", service="", env=None):
    return load(write(tmp_path, MINIMAL % (exporter, service)), Source(), env or {})


def test_gives_components_with_validated_options():
    config = load(FULL, Source(), ENV)
    receiver = config.receivers["otlp"]
    assert (receiver.cls, receiver.kind, receiver.type_name, receiver.line) == (OtlpReceiver, Kind.RECEIVERS, "otlp", 2)
    assert receiver.config.protocols.grpc.endpoint == "example:4317"
    assert receiver.config.protocols.http.max_size == 1 << 20
    assert config.exporters["otlp/jaeger"].cls is OtlpExporter
    assert config.exporters["otlp/jaeger"].type_name == "otlp"
    assert config.processors["sampler"].cls is Sampler
    assert config.processors["sampler"].config.decision_wait == 90 * 10**9
    assert config.connectors["disk"].cls is DiskConnector
    assert config.connectors["disk"].config.max_size == 1 << 30
    assert list(config.extensions) == ["health"]


def test_gives_pipelines():
    config = load(FULL, Source(), ENV)
    sample = config.pipelines["traces/sample"]
    assert (sample.id, sample.signal, sample.line) == ("traces/sample", Signal.TRACES, 16)
    assert (sample.receivers, sample.processors, sample.exporters) == (("disk",), ("pure", "sampler"), ("otlp/jaeger",))
    assert list(config.pipelines) == ["traces/ingest", "traces/sample"]
    assert list(config.service.pipelines) == ["traces/ingest", "traces/sample"]


def test_gives_the_service_settings():
    service = load(FULL, Source(), ENV).service
    assert service.telemetry.metrics.address == "localhost:0"
    assert service.telemetry.logs.level == "warn"
    assert service.telemetry.logs.encoding == "console"
    assert service.inflight_limit == 128 << 20
    assert service.extensions == ("health",)


def test_the_dead_letter_follows_the_data_directory(tmp_path):
    assert minimal(tmp_path).service.dead_letter.directory == Path("butterfly-data/dead-letter")
    assert minimal(tmp_path, service="data_dir: /x, ").service.dead_letter.directory == Path("/x/dead-letter")
    given = minimal(
        tmp_path, service="data_dir: /x, dead_letter: {directory: /y, max_size: 1MiB}, "
    ).service.dead_letter
    assert (given.directory, given.max_size) == (Path("/y"), 1 << 20)
    sized = minimal(tmp_path, service="data_dir: /x, dead_letter: {max_size: 1MiB}, ").service.dead_letter
    assert (sized.directory, sized.max_size) == (Path("/x/dead-letter"), 1 << 20)


def test_the_configuration_is_frozen():
    config = load(FULL, Source(), ENV)
    for change in (
        lambda: setattr(config, "path", ""),
        lambda: config.pipelines.update(x=1),
        lambda: config.receivers.update(x=1),
        lambda: config.components.pop(Kind.RECEIVERS),
        lambda: setattr(config.service, "inflight_limit", 1),
        lambda: setattr(config.receivers["otlp"], "line", 1),
    ):
        with pytest.raises((AttributeError, TypeError, ValueError)):
            change()


def test_its_repr_holds_no_secret(tmp_path):
    config = minimal(tmp_path, exporter=', token: "${env:TOKEN}", headers: {a: sesame}', env={"TOKEN": "hunter2"})
    assert config.exporters["otlp"].config.token.get_secret_value() == "hunter2"
    assert "hunter2" not in repr(config)
    assert "sesame" not in repr(config)


@pytest.mark.parametrize("value", ["0123", "4711", "true", "null", "", "1.50", "~", "0x10"])
def test_a_substituted_text_stays_as_it_came_where_a_text_is_wanted(tmp_path, value):
    config = minimal(tmp_path, exporter=", token: '${env:V}', headers: {a: '${env:V}'}", env={"V": value})
    exporter = config.exporters["otlp"].config
    assert exporter.token.get_secret_value() == value
    assert exporter.headers["a"].get_secret_value() == value


def test_a_substituted_number_is_a_number_where_one_is_wanted(tmp_path):
    assert minimal(tmp_path, exporter=", pin: '${env:V}'", env={"V": "17"}).exporters["otlp"].config.pin == 17
    assert minimal(tmp_path, exporter=", pin: '${env:V:-}'", env={}).exporters["otlp"].config.pin is None


def test_variables_come_from_the_process_by_default(tmp_path, monkeypatch):
    monkeypatch.setenv("BUTTERFLY_TEST_ENDPOINT", "here:1")
    path = write(tmp_path, MINIMAL.replace("localhost:1", "${BUTTERFLY_TEST_ENDPOINT}") % ("", ""))
    assert load(str(path), Source()).exporters["otlp"].config.endpoint == "here:1"


def test_secret_files_are_beside_the_yaml(tmp_path):
    (tmp_path / "token").write_text("hunter2\n")
    token = minimal(tmp_path, exporter=", token: '${file:token}'").exporters["otlp"].config.token
    assert token.get_secret_value() == "hunter2"


def test_a_byte_order_mark_is_no_key(tmp_path):
    path = tmp_path / "bom.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + (MINIMAL % ("", "")).encode())
    assert load(path, Source(), {}).pipelines


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"a: \xff", "gateway.yaml:1: not UTF-8 text"),
        (b"a: 1\nb: \xff", "gateway.yaml:2: not UTF-8 text"),
        (b"#" * (MAX_FILE + 1), "larger than 1 MiB"),
    ],
)
def test_unreadable_content(tmp_path, content, reason):
    path = tmp_path / "gateway.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=reason):
        load(path, Source(), {})


def test_unreadable_files(tmp_path):
    with pytest.raises(ConfigError, match=r"no\.yaml: can't be read: No such file"):
        load(tmp_path / "no.yaml", Source(), {})
    with pytest.raises(ConfigError, match="can't be read: Is a directory"):
        load(tmp_path, Source(), {})


def test_custom_classes_are_looked_for_beside_the_yaml(tmp_path):
    asked = []

    class Recording(Source):
        def load(self, kind, type_name, folder):
            asked.append((kind, type_name, folder))
            return super().load(kind, type_name.partition(":")[2] or type_name, folder)

    text = MINIMAL.replace("otlp", "./mine.py:otlp/a/b") % ("", "")
    config = load(write(tmp_path, text), Recording(), {})
    assert asked == [
        (Kind.RECEIVERS, "./mine.py:otlp", tmp_path),
        (Kind.EXPORTERS, "./mine.py:otlp", tmp_path),
    ]
    assert config.pipelines["traces"].receivers == ("./mine.py:otlp/a/b",)


def test_select_keeps_what_the_pipelines_use():
    config = load(FULL, Source(), ENV)
    part = select(config, ["traces/sample"])
    assert list(part.pipelines) == ["traces/sample"]
    assert {kind.value: list(specs) for kind, specs in part.components.items()} == {
        "receivers": [],
        "processors": ["sampler", "pure"],
        "exporters": ["otlp/jaeger"],
        "connectors": ["disk"],
        "extensions": ["health"],
    }
    ingest = select(config, iter(["traces/ingest", "traces/ingest"]))
    assert (list(ingest.receivers), list(ingest.connectors), list(ingest.exporters)) == (["otlp"], ["disk"], [])
    assert select(config, config.pipelines) == config


def test_select_refuses_what_is_not_there():
    config = load(FULL, Source(), ENV)
    with pytest.raises(ConfigError) as refused:
        select(config, ["traces/ingestt", "traces/sample", "x"])
    known = " (pipelines: traces/ingest, traces/sample)"
    assert [problem.removeprefix(f"{FULL}: ") for problem in refused.value.problems] == [
        "there is no pipeline 'traces/ingestt', did you mean 'traces/ingest'?" + known,
        "there is no pipeline 'x'" + known,
    ]
    with pytest.raises(ConfigError, match="no pipeline is selected"):
        select(config, [])


def test_readers_are_those_of_the_whole_file_and_say_who_keeps_a_journal(tmp_path):
    text = """\
receivers: {otlp: }
processors: {sampler: {policies: [{type: status, codes: [ERROR]}]}, stateful: , pure: }
exporters: {otlp: {endpoint: "localhost:1"}}
connectors: {shared: , shared/unread: }
service:
  pipelines:
    traces/in: {receivers: [otlp], exporters: [shared]}
    metrics/in: {receivers: [otlp], exporters: [shared]}
    traces/sample: {receivers: [shared], processors: [pure, sampler], exporters: [otlp]}
    traces/all: {receivers: [shared], processors: [pure], exporters: [otlp]}
    metrics/out: {receivers: [shared], processors: [stateful], exporters: [otlp]}
"""
    config = load(write(tmp_path, text), Source(), {})
    readers = (
        Reader("traces/sample", Signal.TRACES),
        Reader("traces/all", Signal.TRACES, journal=False),
        Reader("metrics/out", Signal.METRICS),
    )
    assert config.readers == {"shared": readers, "shared/unread": ()}
    assert select(config, ["traces/in"]).readers == config.readers


def test_the_environment_is_not_changed(tmp_path):
    before = dict(os.environ)
    minimal(tmp_path)
    assert dict(os.environ) == before
