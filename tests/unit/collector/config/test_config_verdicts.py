"""Who goes by verdicts, and whether a process with these pipelines can know any."""

import pytest

from collector.config import load, select
from collector.registry import Registry
from processors.tail_sampling import TailSampling

FILE = """\
receivers: {otlp: {protocols: {grpc: {}}}}
processors:
  tail_sampling: {policies: [{name: all, type: always_sample}]}
  exemplar_linker: {LINKER}
  log_sampling: {LOGS}
connectors:
  disk:
  kafka:
exporters: {debug: }
service:
  pipelines:
    traces/in: {receivers: [otlp], exporters: [BUFFER]}
    metrics/in: {receivers: [otlp], exporters: [disk]}
    logs/in: {receivers: [otlp], exporters: [disk]}
    traces/sample: {receivers: [BUFFER], processors: [tail_sampling], exporters: [debug]}
    metrics/out: {receivers: [disk], processors: [exemplar_linker], exporters: [debug]}
    logs/out: {receivers: [disk], processors: [log_sampling], exporters: [debug]}
"""


@pytest.fixture
def made(tmp_path):
    def make(buffer="disk", linker="", logs="", file=FILE):
        path = tmp_path / "gateway.yaml"
        unused = "disk" if buffer == "kafka" else "kafka"
        text = file.replace("BUFFER", buffer).replace("LINKER", linker).replace("LOGS", logs)
        path.write_text(text if unused == "disk" else text.replace("  kafka:\n", ""))
        return load(path, Registry(), {})

    return make


def told(config):
    return [warning.removeprefix(f"{config.path}:") for warning in config.warnings]


def test_a_file_with_a_sampler_is_fine_as_a_whole(made):
    config = made(linker="keep_exemplar_traces: true", logs="pin_severity: ERROR")
    assert told(config) == []
    (sampler,) = config.samplers
    assert (sampler.pipeline, sampler.cls) == ("traces/sample", TailSampling)
    assert [each.id for each in sampler.connectors] == ["disk"]
    assert sampler.shared == ()


def test_verdicts_on_one_machines_disk_reach_no_other_process(made):
    config = select(made(), ["metrics/out", "logs/out"])
    why = (
        "goes by the verdicts of traces/sample, which is not run here, and 'disk' is this machine's alone: it waits in "
        "vain; run both in one process, or put a connector that machines share (kafka) before the sampler"
    )
    assert told(config) == [
        f"15: service.pipelines.metrics/out: 'exemplar_linker' {why}",
        f"16: service.pipelines.logs/out: 'log_sampling' {why}",
    ]
    assert config.samplers == made().samplers
    assert told(select(made(), ["metrics/out", "traces/sample"])) == []
    assert told(select(made(), ["metrics/in"])) == []


def test_verdicts_in_kafka_reach_every_process(made):
    config = made("kafka")
    assert told(select(config, ["metrics/out", "logs/out"])) == []
    assert [each.id for each in config.samplers[0].shared] == ["kafka"]


def test_pins_reach_the_samplers_of_the_same_process_alone(made):
    config = made("kafka", linker="keep_exemplar_traces: true", logs="pin_severity: ERROR")
    why = "it asks the samplers of this process, which doesn't run traces/sample: it has no effect"
    assert told(select(config, ["metrics/out", "logs/out"])) == [
        f"4: processors.exemplar_linker.keep_exemplar_traces: {why}",
        f"5: processors.log_sampling.pin_severity: {why}",
    ]
    assert told(select(config, ["metrics/out", "logs/out", "traces/sample"])) == []


def test_a_file_without_a_sampler_has_no_verdicts(made):
    text = FILE.replace("processors: [tail_sampling], ", "").replace(
        "  tail_sampling: {policies: [{name: all, type: always_sample}]}\n", ""
    )
    config = made(file=text)
    why = "goes by the verdicts of a sampler, and no pipeline has one: it waits in vain; "
    mend = "add a pipeline with tail_sampling, or remove it"
    assert told(config) == [
        f"14: service.pipelines.metrics/out: 'exemplar_linker' {why}{mend}",
        f"15: service.pipelines.logs/out: 'log_sampling' {why}{mend}",
    ]
    assert select(config, config.pipelines) == config


def test_two_samplers_may_contradict_each_other(made):
    second = "    traces/strict: {receivers: [disk], processors: [tail_sampling], exporters: [debug]}\n"
    config = made(file=FILE + second)
    both = "goes by the verdicts of traces/sample and traces/strict"
    why = f"{both}: where they differ about a trace the later one counts"
    assert [each.partition(",")[0] for each in told(config)] == [
        f"15: service.pipelines.metrics/out: 'exemplar_linker' {why}",
        f"16: service.pipelines.logs/out: 'log_sampling' {why}",
    ]
    assert told(select(config, ["metrics/out", "traces/sample"])) == []


def test_a_sampler_without_a_log_keeps_its_verdicts_in_memory(made):
    text = FILE.replace("    traces/in: {receivers: [otlp], exporters: [BUFFER]}\n", "")
    text = text.replace("traces/sample: {receivers: [BUFFER]", "traces/sample: {receivers: [otlp]")
    config = made(file=text)
    assert config.samplers[0].connectors == ()
    (warning,) = (each for each in told(select(config, ["metrics/out"])) if "exemplar_linker" in each)
    assert "they are in the memory of the process that does" in warning


@pytest.mark.parametrize(
    ("exemplars", "warned"), [("{}", 0), ("{enabled: true}", 1), ("{enabled: true, traces: all}", 0)]
)
def test_span_metrics_goes_by_verdicts_for_exemplars_of_kept_traces(made, exemplars, warned):
    text = FILE.replace("  disk:\n", f"  disk:\n  span_metrics: {{exemplars: {exemplars}}}\n")
    text = text.replace("exporters: [BUFFER]", "exporters: [BUFFER, span_metrics]")
    text += "    metrics/spans: {receivers: [span_metrics], exporters: [debug]}\n"
    config = select(made(file=text), ["traces/in", "metrics/spans"])
    assert len([each for each in told(config) if "'span_metrics' goes by" in each]) == warned
