"""The pages say what the code does: every metric, every option of every component; and something leads to each."""

import re
import types
from pathlib import Path
from typing import get_args, get_origin

import pytest
import yaml
from pydantic import BaseModel

from collector.ack import Outcome
from collector.component.exporter import ExporterOptions
from collector.component.kind import Kind
from collector.config import ServiceOptions
from collector.connectors.disk.connector import _READY as NOT_READY
from collector.export_queue.dead_letter import DeadLetter
from collector.options import format_duration, format_size
from collector.registry import Registry
from collector.telemetry.catalogue import CATALOGUE
from collector.testing.batches import traces_batch

DOCS = Path(__file__).parents[2] / "docs"
COMPONENTS = DOCS / "components"
BUILT_IN = [(found.kind, found.type_name, found.cls) for found in Registry().available()]
PAGES = {
    (Kind.RECEIVERS, "otlp"): "otlp_receiver.md",
    (Kind.EXPORTERS, "otlp"): "otlp_exporter.md",
    (Kind.EXPORTERS, "prometheusremotewrite"): "prometheus_remote_write.md",
}
"""Where the page of a type isn't named after it, because two kinds share the name."""


def page_of(kind, type_name):
    return COMPONENTS / PAGES.get((kind, type_name), f"{type_name}.md")


def models(annotation):
    """The option models in an annotation: itself, in a union, in a list."""
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return [annotation] if issubclass(annotation, BaseModel) else []
    return [model for argument in get_args(annotation) for model in models(argument)] if get_origin(annotation) else []


def options(model, seen=()):
    """Names of `model`'s options and of those inside of them."""
    for name, field in model.model_fields.items():
        yield field.alias or name
        for inner in models(field.annotation):
            if inner not in seen:
                yield from options(inner, (*seen, model))


def quoted(text):
    """Every word that stands in backticks, or in a block of code."""
    return set(re.findall(r"\w+", " ".join(re.findall(r"```.*?```|`[^`\n]+`", text, re.DOTALL))))


def test_there_are_components():
    assert len(BUILT_IN) >= 8
    assert all(cls is not None for _, _, cls in BUILT_IN)


@pytest.mark.parametrize(
    ("kind", "type_name", "cls"), BUILT_IN, ids=lambda each: getattr(each, "word", None) or str(each)
)
def test_every_option_is_on_its_components_page(kind, type_name, cls):
    text = page_of(kind, type_name).read_text()
    if kind is Kind.EXPORTERS:
        assert "(export_queue.md" in text  # what all exporters have in common is said once
        text += (COMPONENTS / "export_queue.md").read_text()
    if type_name == "jaeger":
        assert "(otlp_exporter.md" in text
        text += (COMPONENTS / "otlp_exporter.md").read_text()
    assert sorted(set(options(cls.Config)) - quoted(text)) == []


def test_options_are_found_inside_of_options():
    from receivers.otlp import OtlpReceiver

    assert {"cors", "max_age", "permit_without_stream", "client_ca_file"} <= set(options(OtlpReceiver.Config))
    assert {"batch", "max_bytes", "multiplier"} <= set(options(ExporterOptions))


def shown(value):
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


def rows(text):
    """Tables by their first cell: the other cells."""
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| `")
    ]
    return {row[0].strip("`"): row[1:] for row in cells}


def defaults(model, prefix=""):
    for name, field in model.model_fields.items():
        if models(field.annotation):
            yield from defaults(models(field.annotation)[0], f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field.default


def test_the_export_queues_defaults_are_the_codes():
    table = rows((COMPONENTS / "export_queue.md").read_text())
    for name, value in defaults(ExporterOptions):
        texts = {shown(value), format_duration(value), format_size(value)} if isinstance(value, int) else {shown(value)}
        (found,) = re.findall(r"^`([^`]+)`", table[name][0])
        assert found in texts, name


def test_every_metric_is_in_its_table_as_the_catalogue_has_it():
    table = rows((DOCS / "metrics.md").read_text())
    assert list(table) == list(CATALOGUE)
    for name, metric in CATALOGUE.items():
        labels = ", ".join(f"`{label}`" for label in metric.labels) or "-"
        assert table[name] == [metric.kind, labels, metric.about]


def links(page):
    """The files that a page leads to."""
    found = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
    return [(page.parent / each).resolve() for each in found]


def test_every_page_of_a_component_is_in_the_index():
    assert set(COMPONENTS.glob("*.md")) - set(links(DOCS / "README.md")) == set()


def test_every_page_is_in_the_index():
    assert set(DOCS.glob("*.md")) - {DOCS / "README.md"} - set(links(DOCS / "README.md")) == set()


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: str(page.relative_to(DOCS)))
def test_no_link_leads_nowhere(page):
    assert [str(target) for target in links(page) if not target.exists()] == []


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: str(page.relative_to(DOCS)))
def test_a_metric_that_a_page_names_exists(page):
    named = re.findall(r"`(butterfly_[a-z_]+[a-z])[{`]", page.read_text())
    known = {name.removesuffix(end) for name in CATALOGUE for end in ("", "_total")} | set(CATALOGUE)
    assert [name for name in named if name not in known and not name.endswith(("_bucket", "_sum", "_count"))] == []


def test_every_component_is_in_the_index():
    index = (DOCS / "README.md").read_text()
    for kind, type_name, _ in BUILT_IN:
        assert f"| [`{type_name}`](components/{page_of(kind, type_name).name}) | {kind.word} |" in index


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def test_every_reason_not_to_be_ready_is_in_operations():
    text = (DOCS / "operations.md").read_text()
    assert "| `starting` |" in text
    for reason in NOT_READY.values():
        assert f"| `disk: {reason}` |" in text


async def test_the_way_to_read_dead_letters_works(tmp_path, monkeypatch, capsys):
    batch = traces_batch(3)
    await DeadLetter(tmp_path / "butterfly-data" / "dead-letter", 1 << 20).write(batch, "otlp", "rejected: made up")
    batch.ack.resolve(Outcome.DELIVERED)
    monkeypatch.chdir(tmp_path)
    (code,) = blocks(DOCS / "operations.md", "python")
    exec(compile(code, "operations.md", "exec"), {})
    head, request = capsys.readouterr().out.splitlines()
    assert head.split(" ", 1)[1] == "otlp rejected: made up 3"
    assert request.count('"spanId"') >= 3


def test_the_alerts_use_metrics_that_exist():
    (text,) = [block for block in blocks(DOCS / "operations.md", "yaml") if "groups:" in block]
    (group,) = yaml.safe_load(text)["groups"]
    assert len(group["rules"]) >= 8
    for rule in group["rules"]:
        for name, labels in re.findall(r"(butterfly_\w+)(?:\{([^}]*)\})?", rule["expr"]):
            assert set(re.findall(r"(\w+)[=!]", labels)) <= set(CATALOGUE[name].labels)


def test_service_options_that_operations_names_exist():
    names = set(re.findall(r"`service\.([a-z_.]+)`", (DOCS / "operations.md").read_text()))
    known = set(options(ServiceOptions))
    assert names
    assert [name for name in names if name.rpartition(".")[2] not in known] == []
