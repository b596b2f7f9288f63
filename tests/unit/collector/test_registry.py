import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

import collector
from collector import compiled
from collector.api import Exporter, Processor
from collector.compiled import missing_extension
from collector.component.kind import Kind
from collector.errors import ConfigError
from collector.registry import Registry

ENTRIES = {
    Kind.PROCESSORS: {
        "fine": "collector.component.processor:Processor",
        "exporter_really": "collector.component.exporter:Exporter",
        "function": "collector.options:seconds",
        "gone": "collector.no_such_module:X",
        "renamed": "collector.options:NoSuchClass",
    },
    Kind.EXPORTERS: {"sink": "collector.component.exporter:Exporter"},
}


def registry():
    return Registry(
        lambda kind: [EntryPoint(name, value, "test") for name, value in ENTRIES.get(kind, {}).items()],
    )


def refusal(kind, type_name, folder=Path()):
    with pytest.raises(ConfigError) as refused:
        registry().load(kind, type_name, folder)
    (problem,) = refused.value.problems
    return problem


@pytest.fixture
def write(tmp_path):
    before = set(sys.modules)

    def write(name, text):
        (tmp_path / name).write_text(text)
        return tmp_path

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]


GOOD = "from collector.api import Processor\nclass Drop(Processor):\n    'Drops.'\nclass Other: pass\n"


def test_loads_entry_points():
    assert registry().load(Kind.PROCESSORS, "fine") is Processor
    assert registry().known(Kind.PROCESSORS) == ["exporter_really", "fine", "function", "gone", "renamed"]
    assert registry().known(Kind.RECEIVERS) == []


def test_loads_a_module():
    assert registry().load(Kind.EXPORTERS, "collector.component.exporter:Exporter") is Exporter


def test_loads_a_file_beside_the_yaml_once(write):
    folder = write("drop.py", GOOD)
    first = registry().load(Kind.PROCESSORS, "./drop.py:Drop", folder)
    assert issubclass(first, Processor)
    assert first.__doc__ == "Drops."
    assert registry().load(Kind.PROCESSORS, "./drop.py:Drop", folder) is first
    assert registry().load(Kind.PROCESSORS, f"{folder}/drop.py:Drop") is first
    (folder / "below").mkdir()
    assert registry().load(Kind.PROCESSORS, "../drop.py:Drop", folder / "below") is first


def test_a_file_never_shadows_a_module(write):
    folder = write("json.py", GOOD)
    before = sys.modules.get("json")
    loaded = registry().load(Kind.PROCESSORS, "./json.py:Drop", folder)
    assert loaded.__module__ != "json"
    assert sys.modules.get("json") is before


def test_nothing_is_imported_before_it_is_named():
    asked = []

    def discover(kind):
        asked.append(kind)
        return [EntryPoint("x", "no_such_package:X", "test")]

    assert Registry(discover).known(Kind.RECEIVERS) == ["x"]
    assert asked == [Kind.RECEIVERS]


@pytest.mark.parametrize(
    ("kind", "type_name", "expected"),
    [
        (Kind.EXPORTERS, "sinc", "unknown exporter type 'sinc', did you mean 'sink'? (known: sink)"),
        (
            Kind.EXPORTERS,
            "fine",
            "unknown exporter type 'fine'; 'fine' is registered under processors (known: sink)",
        ),
        (Kind.RECEIVERS, "otlp", "unknown receiver type 'otlp' (known: none)"),
        (Kind.EXPORTERS, "drop.py:Drop", "there is no module 'drop.py' (a file's path begins with ./, ../ or /)"),
        (
            Kind.PROCESSORS,
            "exporter_really",
            "'exporter_really' is not a processor: its class must derive from collector.api.Processor",
        ),
        (
            Kind.PROCESSORS,
            "collector.options:seconds",
            "'collector.options:seconds' is not a processor: its class must derive from collector.api.Processor",
        ),
        (
            Kind.PROCESSORS,
            "collector.component.processor:Procesor",
            "'collector.component.processor:Procesor': there is no class 'Procesor' in it, did you mean 'Processor'?",
        ),
    ],
)
def test_says_what_to_do(kind, type_name, expected):
    assert refusal(kind, type_name) == expected


def test_an_empty_registry_says_that_nothing_is_installed():
    with pytest.raises(ConfigError, match="no component is registered: install the gateway"):
        Registry(lambda _kind: []).load(Kind.RECEIVERS, "otlp")


def test_a_missing_module_is_named():
    assert refusal(Kind.PROCESSORS, "no_such_package.x:Y") == (
        "processor 'no_such_package.x:Y' can't be imported: ModuleNotFoundError: No module named 'no_such_package'"
    )
    assert "collector.no_such_module" in refusal(Kind.PROCESSORS, "gone")
    assert "NoSuchClass" in refusal(Kind.PROCESSORS, "renamed")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x = 1\ny = undefined\n", "broken.py:2: NameError: name 'undefined' is not defined"),
        ("import collector\n\nimport no_such_package\n", "broken.py:3: ModuleNotFoundError: No module named"),
        ("def f(:\n", "broken.py:1: invalid syntax"),
        ("def f():\n    1 / 0\nf()\n", "broken.py:2: ZeroDivisionError"),
        ("import sys\nsys.exit(3)\n", "broken.py:2: SystemExit"),
        ("x = 1\n", "there is no class 'Drop' in it"),
    ],
)
def test_a_custom_file_that_fails_is_named_with_its_line(write, text, expected):
    folder = write("broken.py", text)
    before = set(sys.modules)
    assert expected in refusal(Kind.PROCESSORS, "./broken.py:Drop", folder)
    assert "x = 1" in text or set(sys.modules) == before


def test_a_missing_file(tmp_path):
    assert refusal(Kind.PROCESSORS, "./no.py:Drop", tmp_path) == f"there is no file '{tmp_path}/no.py'"


def test_a_class_of_a_file_must_fit_the_kind(write):
    folder = write("drop.py", GOOD)
    assert "must derive from collector.api.Exporter" in refusal(Kind.EXPORTERS, "./drop.py:Drop", folder)
    assert "must derive from collector.api.Processor" in refusal(Kind.PROCESSORS, "./drop.py:Other", folder)


def test_available_lists_all_with_what_fails():
    found = {item.type_name: item for item in registry().available()}
    assert found["fine"].cls is Processor
    assert found["gone"].cls is None
    assert "collector.no_such_module" in found["gone"].error
    assert [item.kind for item in registry().available()] == [Kind.PROCESSORS] * 5 + [Kind.EXPORTERS]


@pytest.fixture
def unbuilt(tmp_path, monkeypatch):
    """A package with two Cython modules, neither of them built: one from source, one as a wheel leaves it."""
    package = tmp_path / "unbuilt_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "table.pyx").write_text("")
    (package / "wire.pyi").write_text("")
    (package / "present.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    yield package
    sys.modules.pop("unbuilt_package", None)


@pytest.mark.parametrize(
    ("statement", "module"),
    [
        ("import unbuilt_package.table", "unbuilt_package.table"),
        ("from unbuilt_package.table import Table", "unbuilt_package.table"),
        ("from unbuilt_package import table", "unbuilt_package.table"),
        ("from unbuilt_package import wire", "unbuilt_package.wire"),
        ("import unbuilt_package.other", None),
        ("from unbuilt_package import present_not", None),
        ("from unbuilt_package.present import nothing", None),
        ("import no_such_package", None),
        ("import no_such_package.x", None),
    ],
)
def test_a_module_that_is_not_built_is_told_from_one_that_is_not_there(unbuilt, statement, module):
    with pytest.raises(ImportError) as failed:
        exec(statement)
    assert missing_extension(failed.value) == module


def test_a_built_module_is_not_missing(unbuilt):
    (unbuilt / "table.cpython-311-x86_64-linux-gnu.so").write_bytes(b"")
    assert missing_extension(ModuleNotFoundError("No module named 'x'", name="unbuilt_package.table")) is None


def test_a_component_that_is_not_built_says_how_to_build_it(unbuilt):
    discover = {Kind.PROCESSORS: [EntryPoint("sampler", "unbuilt_package.table:Sampler", "test")]}
    (available,) = Registry(lambda kind: discover.get(kind, [])).available()
    assert available.error == (
        "processor 'sampler': the compiled module unbuilt_package.table isn't built: run `make` in the source tree, "
        "or `pip install` a wheel made for this machine"
    )


def test_the_check_for_compiled_modules_needs_nothing_compiled():
    source = Path(compiled.__file__).read_text()
    assert "from collector" not in source
    assert "import collector" not in source
    assert Path(collector.__file__).read_text().count("import") == 0


def test_the_gateways_own_entry_points_are_components():
    """Whatever this installation registers loads, or says which compiled module is missing."""
    for item in Registry().available():
        assert item.cls is not None or "isn't built" in item.error, item.error
