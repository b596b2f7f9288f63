"""docs/configuration.md says what the code does."""

from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from collector.config import ServiceOptions, load
from collector.registry import Registry

PAGE = (Path(__file__).parents[4] / "docs" / "configuration.md").read_text()


def options(model: type[BaseModel], prefix: str = ""):
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from options(field.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


@pytest.mark.parametrize(
    "option", [name for name in options(ServiceOptions) if name not in ("pipelines", "extensions")]
)
def test_every_option_of_service_is_in_the_table_with_its_default(option):
    (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| `{option}` |")]
    value = ServiceOptions().model_dump(mode="json")
    for part in option.split("."):
        value = value[part]
    shown = "`dead-letter` in `data_dir`" if option == "dead_letter.directory" else f"`{value}`"
    assert row.split("|")[2].strip() == shown


def test_the_example_is_valid(tmp_path):
    path = tmp_path / "example.yaml"
    path.write_text(PAGE.partition("```yaml\n")[2].partition("```")[0])
    config = load(path, Registry(), {})
    assert config.warnings == ()
    assert list(config.pipelines) == list(yaml.safe_load(path.read_text())["service"]["pipelines"])


@pytest.mark.parametrize("command", ["run", "validate", "print-config", "components", "schema"])
def test_every_command_is_on_the_page(command):
    assert f"| `butterfly {command}" in PAGE
