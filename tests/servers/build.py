"""Builds the Go servers that tests run against, once, into a cache outside the checkout.

    python tests/servers/build.py jaeger

`go.mod` beside this file pins them. A build takes minutes (Jaeger: about five on one core), so the tests don't start
it: a test whose server isn't in the cache is skipped, or fails where BUTTERFLY_REQUIRE_SERVERS=1.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
CACHE = Path(os.environ.get("BUTTERFLY_SERVERS_CACHE", "~/.cache/butterfly-servers")).expanduser()

# name -> (version, which is part of the place in the cache, and the package of go.mod's tool line)
SERVERS = {"jaeger": ("v1.62.0", "github.com/jaegertracing/jaeger/cmd/jaeger")}


def binary(name: str) -> Path:
    """Where the built program is, or would be."""
    return CACHE / f"{name}-{SERVERS[name][0]}" / name


def build(name: str) -> Path:
    """Build `name` unless the cache has it. Raises `subprocess.CalledProcessError`."""
    path = binary(name)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            made = Path(folder) / name
            command = ["go", "build", "-trimpath", "-ldflags=-s -w", "-o", str(made), SERVERS[name][1]]
            subprocess.run(command, cwd=HERE, check=True)
            made.rename(path)
    return path


if __name__ == "__main__":
    for wanted in sys.argv[1:] or SERVERS:
        print(build(wanted))
