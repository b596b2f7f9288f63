"""`butterfly components`"""

from __future__ import annotations

import click

from collector.config.schema import about
from collector.registry import Available, Registry

_TITLES = ("KIND", "TYPE", "SIGNALS", "CLASS", "ABOUT")


@click.command()
def components() -> None:
    """List the components that can be configured: kind, type, signals, class, and what each is.

    A component that can't be loaded here (a compiled module that isn't built, say) is listed with the reason.
    """
    rows = [_TITLES, *(_row(found) for found in Registry().available())]
    # The last column is left as it is: a terminal wraps it, and nothing stands behind it.
    widths = [max(len(row[at]) for row in rows) for at in range(len(_TITLES) - 1)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        click.echo("  ".join([*cells, row[-1]]).rstrip())


def _row(found: Available) -> tuple[str, str, str, str, str]:
    if found.cls is None:
        return found.kind.word, found.type_name, "-", "-", f"can't be loaded: {found.error}"
    signals = ",".join(sorted(signal.value for signal in found.cls.signals)) or "-"
    place = f"{found.cls.__module__}:{found.cls.__qualname__}"
    return found.kind.word, found.type_name, signals, place, about(found.cls)
