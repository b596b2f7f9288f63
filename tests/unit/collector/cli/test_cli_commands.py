import importlib
import json
import subprocess
import sys

import click
import pytest
import yaml
from click.testing import CliRunner

from collector import cli
from collector.cli import main
from collector.version import __version__

COMPONENTS = '''
from collector.api import Exporter, ExporterOptions, Options, Processor, Receiver, Secret, option

class In(Receiver):
    """Takes."""
    class Config(Options):
        port: int = option(4317, about="Port.", ge=0)

class Out(Exporter):
    """Sends."""
    class Config(ExporterOptions):
        token: Secret = option(about="Token.")
'''
GOOD = """\
receivers: {./parts.py:In: {port: ${env:PORT:-1}}}
exporters: {./parts.py:Out/b: {token: "${env:TOKEN}"}}
service: {pipelines: {traces: {receivers: [./parts.py:In], exporters: [./parts.py:Out/b]}}}
"""


@pytest.fixture
def gateway(tmp_path, monkeypatch):
    monkeypatch.setenv("TOKEN", "hunter2")
    monkeypatch.setenv("PORT", "17")
    (tmp_path / "parts.py").write_text(COMPONENTS)

    def write(text):
        path = tmp_path / "gateway.yaml"
        path.write_text(text.replace("${env:PORT:-1}", '"${env:PORT:-1}"'))
        return str(path)

    return write


def run(*arguments):
    return CliRunner().invoke(main, arguments)


def test_validate_says_valid(gateway):
    path = gateway(GOOD)
    found = run("validate", "-c", path)
    assert (found.exit_code, found.stderr) == (0, "")
    assert found.stdout == f"{path}: valid (1 pipelines, 2 components)\n"


def test_validate_tells_every_problem_on_stderr(gateway):
    undefined = "'nothing' is not defined under exporters or connectors (defined: ./parts.py:Out/b)"
    path = gateway(GOOD.replace("{port", "{prt").replace("[./parts.py:Out/b]", "[nothing]"))
    found = run("validate", "-c", path)
    assert (found.exit_code, found.stdout) == (1, "")
    assert found.stderr.splitlines() == [
        f"error: {path}:1: receivers../parts.py:In: unknown key 'prt', did you mean 'port'? (known: port)",
        f"error: {path}:3: service.pipelines.traces.exporters[0]: {undefined}",
    ]


def test_validate_warns_and_strict_makes_errors_of_it(gateway):
    path = gateway(GOOD + "processors: {'collector.component.processor:Processor': }\n")
    found = run("validate", "-c", path)
    assert found.exit_code == 0
    assert found.stderr.startswith(f"warning: {path}:4: processors.collector.component.processor:Processor: ")
    strict = run("validate", "--strict", "-c", path)
    assert (strict.exit_code, strict.stdout) == (1, "")
    assert strict.stderr == found.stderr.replace("warning: ", "error: ")


@pytest.mark.parametrize("command", ["validate", "print-config"])
def test_a_file_that_is_not_there(command, tmp_path):
    found = run(command, "-c", str(tmp_path / "no.yaml"))
    assert found.exit_code == 1
    assert found.stderr == f"error: {tmp_path}/no.yaml: can't be read: No such file or directory\n"


def test_print_config_shows_what_is_in_force_and_no_secret(gateway):
    found = run("print-config", "-c", gateway(GOOD))
    assert found.exit_code == 0
    assert "hunter2" not in found.output
    tree = yaml.safe_load(found.stdout)
    assert tree["receivers"] == {"./parts.py:In": {"port": 17}}
    assert tree["exporters"]["./parts.py:Out/b"]["token"] == "[REDACTED]"
    assert tree["service"]["data_dir"] == "butterfly-data"


def test_print_config_tells_problems(gateway, monkeypatch):
    monkeypatch.delenv("TOKEN")
    found = run("print-config", "-c", gateway(GOOD))
    assert (found.exit_code, found.stdout) == (1, "")
    assert "the variable TOKEN is not set" in found.stderr


def test_components_lists_every_registered_type():
    found = run("components")
    assert found.exit_code == 0
    title, *rows = found.stdout.splitlines()
    assert title.split() == ["KIND", "TYPE", "SIGNALS", "CLASS", "ABOUT"]
    assert {row.split()[1] for row in rows} >= {"otlp", "tail_sampling", "memory_limiter", "disk", "file", "debug"}
    assert all(row.split()[0] in {"receiver", "processor", "exporter", "connector", "extension"} for row in rows)


def test_components_shows_why_one_cannot_be_loaded(monkeypatch):
    from importlib.metadata import EntryPoint

    from collector import registry

    point = EntryPoint("broken", "collector.no_such_module:X", "butterfly.processors")
    fine = EntryPoint("fine", "collector.component.processor:Processor", "butterfly.processors")
    monkeypatch.setattr(registry, "entry_points", lambda group: [point, fine] if group.endswith("processors") else [])
    broken, good = run("components").stdout.splitlines()[1:]
    assert "can't be loaded: processor 'broken' can't be imported" in broken
    assert good.split()[:4] == ["processor", "fine", "logs,metrics,traces", "collector.component.processor:Processor"]
    assert good.endswith("  Base of processors.")
    schema = run("schema")
    assert "left out: processor 'broken'" in schema.stderr
    assert set(json.loads(schema.stdout)["properties"]["processors"]["properties"]) == {"fine"}


def test_schema_is_json_of_the_registered_types():
    found = run("schema")
    assert found.exit_code == 0
    schema = json.loads(found.stdout)
    assert schema["title"] == "Butterfly Collector"
    assert schema["properties"].keys() == {
        "receivers", "processors", "exporters", "connectors", "extensions", "service",
    }  # fmt: skip


def test_help_lists_the_commands_that_are_there(monkeypatch):
    monkeypatch.setitem(cli._COMMANDS, "absent", cli._Entry("no_such_package.x:y", "Not here."))
    found = run("--help")
    assert found.exit_code == 0
    for command in ("validate", "print-config", "components", "schema"):
        assert f"\n  {command} " in found.stdout
    assert "absent" not in found.stdout


def test_version():
    assert run("--version").stdout.strip() == f"butterfly, version {__version__}"


def test_an_unknown_command():
    found = run("validat")
    assert found.exit_code == 2
    assert "No such command 'validat'" in found.stderr


def test_a_command_whose_module_is_missing_says_so_and_harms_no_other(monkeypatch, gateway):
    monkeypatch.setitem(cli._COMMANDS, "generate", cli._Entry("no_such_package.x:y", "Not here."))
    found = run("generate")
    assert found.exit_code == 1
    assert found.stderr == "Error: generate can't run: it needs no_such_package, which isn't installed\n"
    assert run("validate", "-c", gateway(GOOD)).exit_code == 0


def test_a_command_whose_extension_is_missing_says_how_to_build_it(monkeypatch):
    error = ModuleNotFoundError("No module named 'collector.wire.unbuilt'", name="collector.wire.unbuilt")

    def fail(_name):
        raise error

    monkeypatch.setattr(cli, "missing_extension", lambda found: found.name)
    monkeypatch.setattr(importlib, "import_module", fail)
    found = run("validate")
    assert found.exit_code == 1
    assert "the compiled module collector.wire.unbuilt isn't built: run `make`" in found.stderr


def test_a_table_entry_must_be_a_command(monkeypatch):
    monkeypatch.setitem(cli._COMMANDS, "odd", cli._Entry("collector.options:seconds", "Odd."))
    assert "odd is not a command" in run("odd").stderr


@pytest.mark.parametrize("name", ["run", "validate", "print-config", "components", "schema"])
def test_the_table_names_what_is_there(name):
    context = click.Context(main)
    command = main.get_command(context, name)
    assert isinstance(command, click.Command)
    assert command.name == name


def test_the_group_imports_nothing_of_the_gateway_but_what_it_needs():
    """So that `butterfly --help` is quick, and works where the compiled modules aren't built."""
    code = (
        "import sys\n"
        "from click.testing import CliRunner\n"
        "from collector.cli import main\n"
        "assert CliRunner().invoke(main, ['--help']).exit_code == 0\n"
        "print(sorted(m for m in sys.modules if m.startswith('collector.') and not m.startswith('collector.cli')))\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "['collector.compiled', 'collector.version']"
