"""A missing compiled module, told apart from other import errors and said in words that help.

Imports nothing of the gateway, so that it works when the core itself isn't built.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

_FROM = re.compile(r"cannot import name '(\w+)' from '([\w.]+)'")


def missing_extension(error: ImportError) -> str | None:
    """The dotted name of the Cython module whose absence caused `error`, or None when something else did."""
    named = _FROM.search(str(error))
    candidates = [f"{named[2]}.{named[1]}", named[2]] if named else []
    if error.name:
        candidates.append(error.name)
    return next((name for name in candidates if _is_unbuilt(name)), None)


def advice(module: str) -> str:
    """What to do about the missing compiled `module`."""
    return (
        f"the compiled module {module} isn't built: run `make` in the source tree, "
        "or `pip install` a wheel made for this machine"
    )


def _is_unbuilt(name: str) -> bool:
    package, _, module = name.rpartition(".")
    if not package:
        return False
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return False
    if spec is None or spec.submodule_search_locations is None:
        return False
    folders = [Path(folder) for folder in spec.submodule_search_locations]
    if any(_has_binary(folder, module) for folder in folders):
        return False
    # The .pyi beside every .pyx is shipped in wheels, where the .pyx is not.
    return any((folder / f"{module}{suffix}").is_file() for folder in folders for suffix in (".pyx", ".pyi"))


def _has_binary(folder: Path, module: str) -> bool:
    return (
        (folder / f"{module}.py").is_file() or any(folder.glob(f"{module}.*.so")) or any(folder.glob(f"{module}.*.pyd"))
    )
