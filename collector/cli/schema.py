"""`butterfly schema`"""

from __future__ import annotations

import json

import click

from collector.component.kind import Kind
from collector.config import json_schema
from collector.registry import Registry


@click.command()
def schema() -> None:
    """Print the JSON Schema of the configuration, for editors.

    The YAML language server reads it when the file begins with
    `# yaml-language-server: $schema=butterfly.schema.json`.
    """
    available = Registry().available()
    for missing in (found for found in available if found.cls is None):
        click.echo(f"warning: left out: {missing.error}", err=True)
    classes = {
        kind: {found.type_name: found.cls for found in available if found.kind is kind and found.cls is not None}
        for kind in Kind
    }
    click.echo(json.dumps(json_schema(classes), indent=2, ensure_ascii=False))
