"""One process of a Kafka cluster: begun, stopped, killed, frozen and begun again on the same ports and data."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

# Becomes the command that follows it, in a process that the kernel kills when its starter is gone, however that ends.
_LEASH = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL
if os.getppid() == int(sys.argv[1]):
    os.execvp(sys.argv[2], sys.argv[2:])
"""
# The kernel's signal comes when the *thread* that forked ends, so all brokers are begun by one that lasts.
_STARTER = ThreadPoolExecutor(1, thread_name_prefix="kafka")
_given: set[int] = set()  # ports of this process's clusters, whose brokers may be down just now
_JVM = (
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Xshare:auto",
)  # cheap to start, and no slower for it at our loads


class KafkaNode:
    """A broker and controller in one JVM. `number` is its node id, `ports` are those of its listeners by name."""

    def __init__(self, number: int, folder: Path, jars: Path, ports: dict[str, int], jvm: Sequence[str]) -> None:
        self.number = number
        self.ports = ports
        self.frozen = False
        self._folder = folder
        self._jars = jars
        self._jvm = jvm
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True)

    @property
    def properties(self) -> Path:
        return self._folder / "server.properties"

    @property
    def data(self) -> Path:
        return self._folder / "data"

    @property
    def log(self) -> Path:
        return self._folder / "broker.log"

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Of the JVM. Raises `RuntimeError` where it isn't running."""
        if self._process is None or self._process.poll() is not None:
            raise RuntimeError(f"broker {self.number} isn't running")
        return self._process.pid

    def format(self, *arguments: str) -> None:
        """Prepare the data folder. Raises `RuntimeError` with Kafka's own words."""
        command = self._java("kafka.tools.StorageTool", "format", "-c", str(self.properties), *arguments)
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"formatting Kafka's storage failed: {done.stdout}{done.stderr}")

    def begin(self) -> None:
        """Start the process, without waiting until it answers."""
        command = self._java("kafka.Kafka", str(self.properties), jvm=self._jvm)
        leashed = [sys.executable, "-S", "-c", _LEASH, str(os.getpid()), *command]
        with self.log.open("ab") as log:
            begun = _STARTER.submit(subprocess.Popen, leashed, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            self._process = begun.result()
        self.frozen = False

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process, if there is one."""
        if self.running:
            os.kill(self.pid, number)
            self.frozen = number == signal.SIGSTOP or (self.frozen and number != signal.SIGCONT)

    def wait(self, seconds: float) -> None:
        """Return when the process is gone; one that isn't after `seconds` is killed."""
        if self._process is not None:
            try:
                self._process.wait(seconds)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self.frozen = False

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


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, below those that the kernel gives to outgoing connections.

    A broker that is down must find its port free when it comes back; and a client that knocks at a closed port of the
    kernel's range is, once in a while, given that very port to knock from, and then talks to itself.
    """
    seedless = random.SystemRandom()  # a test that seeds its own choices must not choose ports with them
    lowest_outgoing = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    found: list[int] = []
    while len(found) < count:
        port = seedless.randrange(lowest_outgoing // 2, lowest_outgoing)
        with socket.socket() as probe:
            if port not in _given and probe.connect_ex(("127.0.0.1", port)) != 0:
                found.append(port)
                _given.add(port)
    return found
