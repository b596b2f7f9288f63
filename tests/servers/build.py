"""Builds the servers that tests run against, once, into a cache outside the checkout.

    python tests/servers/build.py jaeger kafka

`<name>/go.mod` pins those written in Go, `<name>/pom.xml` those that Maven brings, and one is Debian's. A build takes
minutes (README.md has how many), so the tests don't start it: a test whose server isn't in the cache is skipped, or
fails where BUTTERFLY_REQUIRE_SERVERS=1.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

HERE = Path(__file__).parent
CACHE = Path(os.environ.get("BUTTERFLY_SERVERS_CACHE", "~/.cache/butterfly-servers")).expanduser()


@dataclass(frozen=True)
class GoProgram:
    """`package` of a tool line in `folder`/go.mod; `version` is part of the place in the cache."""

    folder: str
    version: str
    package: str
    tags: str = ""
    variables: str = ""


_PROMETHEUS = ("prometheus", "v0.316.0", "github.com/prometheus/prometheus/cmd/")
# Without the ways to discover targets in other people's clouds: half the build. There is no web page either.
_SLIM = ("remove_all_sd", "-X github.com/prometheus/common/version.Version=3.16.0")
_LOKI = ("", "-X github.com/grafana/loki/pkg/build.Version=2.2.1")
GO_PROGRAMS = {
    "victoria-logs": GoProgram("victoria-logs", "v1.52.1", "github.com/VictoriaMetrics/VictoriaLogs/app/victoria-logs"),
    "prometheus": GoProgram(*_PROMETHEUS[:2], _PROMETHEUS[2] + "prometheus", *_SLIM),
    "promtool": GoProgram(*_PROMETHEUS[:2], _PROMETHEUS[2] + "promtool", *_SLIM),
    # v2.2.1 of April 2021: the last release under the Apache licence. Later ones are under the AGPL and stay out.
    "loki": GoProgram("loki", "v1.6.2-0.20210406003638-babea82ef558", "github.com/grafana/loki/cmd/loki", *_LOKI),
    "jaeger": GoProgram("jaeger", "v1.62.0", "github.com/jaegertracing/jaeger/cmd/jaeger"),
}
JAVA_SERVERS = ("kafka",)
DEBIAN_PROGRAMS = {"prometheus-v1": ("prometheus", "usr/bin/prometheus")}
"""name -> (Debian's package, the program in it), unpacked, not installed: an installed one would start as a service."""


def binary(name: str) -> Path:
    """Where the built program is, or would be."""
    if name in DEBIAN_PROGRAMS:
        return CACHE / f"{name}-debian" / name
    return CACHE / f"{name}-{GO_PROGRAMS[name].version}" / name


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
                _collect_jars(name, made)
            elif name in DEBIAN_PROGRAMS:
                _unpack(name, made)
            else:
                _compile(GO_PROGRAMS[name], made)
            made.rename(path)
        if name == "kafka":
            subprocess.run([sys.executable, "-m", "tests.servers.kafka_archive"], cwd=HERE.parents[1], check=True)
    return path


def _compile(program: GoProgram, made: Path) -> None:
    flags = ["-trimpath", f"-tags={program.tags}", f"-ldflags=-s -w {program.variables}"]
    command = ["nice", "-n", "10", "go", "build", *flags, "-o", str(made), program.package]
    subprocess.run(command, cwd=HERE / program.folder, check=True)


def _collect_jars(name: str, made: Path) -> None:
    goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={made}"]
    subprocess.run(["mvn", "-q", "-B", "-f", str(HERE / name / "pom.xml"), *goal], check=True)


def _unpack(name: str, made: Path) -> None:
    package, program = DEBIAN_PROGRAMS[name]
    folder = made.parent
    download = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", package]
    if subprocess.run(download, cwd=folder, check=False).returncode:  # no list of packages yet, or an old one
        subprocess.run(["apt-get", "-qq", "update"], check=True)
        subprocess.run(download, cwd=folder, check=True)
    (archive,) = folder.glob("*.deb")
    subprocess.run(["dpkg-deb", "-x", str(archive), "unpacked"], cwd=folder, check=True)
    (folder / "unpacked" / program).rename(made)


if __name__ == "__main__":
    for wanted in sys.argv[1:] or (*DEBIAN_PROGRAMS, *GO_PROGRAMS, *JAVA_SERVERS):
        began = time.monotonic()
        print(build(wanted), f"{time.monotonic() - began:.0f} s", flush=True)
