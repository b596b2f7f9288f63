"""Builds the servers that tests run against, once, into a cache outside the checkout.

    python tests/servers/build.py jaeger kafka

`go.mod` beside this file pins those written in Go, `<name>/pom.xml` those that Maven brings. A build takes minutes
(Jaeger: about five on one core), so the tests don't start it: a test whose server isn't in the cache is skipped, or
fails where BUTTERFLY_REQUIRE_SERVERS=1.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree as ET

HERE = Path(__file__).parent
CACHE = Path(os.environ.get("BUTTERFLY_SERVERS_CACHE", "~/.cache/butterfly-servers")).expanduser()

# name -> (version, which is part of the place in the cache, and the package of go.mod's tool line)
SERVERS = {"jaeger": ("v1.62.0", "github.com/jaegertracing/jaeger/cmd/jaeger")}
JAVA_SERVERS = ("kafka",)


def binary(name: str) -> Path:
    """Where the built program is, or would be."""
    return CACHE / f"{name}-{SERVERS[name][0]}" / name


def jars(name: str) -> Path:
    """The folder with the jars of a server in Java, there or not; the pom's version is part of its path."""
    version = ET.parse(HERE / name / "pom.xml").findtext("{*}version")
    return CACHE / f"{name}-{version}" / "libs"


def build(name: str) -> Path:
    """Build `name` unless the cache has it. Raises `subprocess.CalledProcessError`."""
    path = jars(name) if name in JAVA_SERVERS else binary(name)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            made = Path(folder) / path.name
            if name in JAVA_SERVERS:
                goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={made}"]
                command = ["mvn", "-q", "-B", "-f", str(HERE / name / "pom.xml"), *goal]
            else:
                command = ["go", "build", "-trimpath", "-ldflags=-s -w", "-o", str(made), SERVERS[name][1]]
            subprocess.run(command, cwd=HERE, check=True)
            made.rename(path)
        if name == "kafka":
            subprocess.run([sys.executable, "-m", "tests.servers.kafka_archive"], cwd=HERE.parents[1], check=True)
    return path


if __name__ == "__main__":
    for wanted in sys.argv[1:] or (*SERVERS, *JAVA_SERVERS):
        print(build(wanted))
