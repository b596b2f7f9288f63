"""One process of a Kafka cluster: begun, stopped, killed, frozen and begun again on the same ports and data."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.servers.process import Process

_JVM = (
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Xshare:auto",
)  # cheap to start, and no slower for it at our loads


class KafkaNode(Process):
    """A broker and controller in one JVM. `number` is its node id, `ports` are those of its listeners by name."""

    def __init__(self, number: int, folder: Path, jars: Path, ports: dict[str, int], jvm: Sequence[str]) -> None:
        super().__init__(f"broker {number}", folder / "broker.log")
        self.number = number
        self.ports = ports
        self._folder = folder
        self._jars = jars
        self._jvm = jvm
        folder.mkdir(parents=True)

    @property
    def properties(self) -> Path:
        return self._folder / "server.properties"

    @property
    def data(self) -> Path:
        return self._folder / "data"

    def format(self, *arguments: str) -> None:
        """Prepare the data folder. Raises `RuntimeError` with Kafka's own words."""
        command = self._java("kafka.tools.StorageTool", "format", "-c", str(self.properties), *arguments)
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"formatting Kafka's storage failed: {done.stdout}{done.stderr}")

    def begin(self) -> None:
        """Start the process, without waiting until it answers."""
        self.run(self._java("kafka.Kafka", str(self.properties), jvm=self._jvm))

    def discard(self) -> None:
        """Remove the data; the log of the process stays."""
        shutil.rmtree(self.data, ignore_errors=True)

    def _java(self, main: str, *arguments: str, jvm: Sequence[str] = ()) -> list[str]:
        ready = archive(self._jars)
        shared = [f"-XX:SharedArchiveFile={ready}"] if ready.exists() else []
        return ["java", *_JVM, *shared, *jvm, "-cp", f"{self._jars}/*", main, *arguments]


def archive(jars: Path) -> Path:
    """Where the archive of the classes in `jars` is, or would be."""
    return jars.with_name("classes.jsa")
