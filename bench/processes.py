"""Processes under measurement: pinned to a core, timed by the operating system, ended by their own id."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

_TICKS = os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    """A TCP port on localhost that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def pinned(command: list[str], core: int | None) -> list[str]:
    """The command, bound to that core where the machine has it and lets us."""
    if core is None or core not in os.sched_getaffinity(0) or shutil.which("taskset") is None:
        return command
    return ["taskset", "-c", str(core), *command]


def _parents() -> dict[int, int]:
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int(_stat(int(entry.name))[1])
            except OSError:
                continue
    return parents


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on; the name before it may hold anything."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _family(root: int) -> list[int]:
    parents = _parents()
    family = [root]
    for pid in family:
        family.extend(child for child, parent in parents.items() if parent == pid)
    return family


def cpu_seconds(root: int) -> float:
    """User and system time so far of a process and all below it."""
    total = 0.0
    for pid in _family(root):
        try:
            user, system = _stat(pid)[11:13]
        except OSError:
            continue
        total += (int(user) + int(system)) / _TICKS
    return total


class Measured:
    """One program with its children, started at once. Its output goes to `log`."""

    def __init__(self, command: list[str], log: Path, *, core: int | None = None, cwd: Path | None = None) -> None:
        self._log = log
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                pinned(command, core), stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, cwd=cwd
            )
        self.pid = self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def wait_for_port(self, port: int, seconds: float = 20.0) -> None:
        """Return once the program takes connections. Raises `RuntimeError` with the end of its output otherwise."""
        give_up = time.monotonic() + seconds
        while time.monotonic() < give_up:
            if self._process.poll() is not None:
                raise RuntimeError(f"ended with {self._process.returncode}: {self.last_words()}")
            try:
                socket.create_connection(("127.0.0.1", port), 0.5).close()
            except OSError:
                time.sleep(0.05)
            else:
                return
        raise RuntimeError(f"doesn't listen after {seconds:.0f} s: {self.last_words()}")

    def wait_for_ready(self, url: str, seconds: float = 30.0) -> None:
        """Return once `url` says 200. Raises `RuntimeError` with the end of its output otherwise."""
        give_up = time.monotonic() + seconds
        while time.monotonic() < give_up:
            if self._process.poll() is not None:
                raise RuntimeError(f"ended with {self._process.returncode}: {self.last_words()}")
            try:
                with urllib.request.urlopen(url, timeout=1.0):  # noqa: S310 - of localhost
                    return
            except OSError:
                time.sleep(0.05)
        raise RuntimeError(f"isn't ready after {seconds:.0f} s: {self.last_words()}")

    def last_words(self) -> str:
        """The last line of its output that isn't empty."""
        lines = [line for line in self._log.read_text(errors="replace").splitlines() if line.strip()]
        return lines[-1][:200] if lines else "no output"

    def cpu_seconds(self) -> float:
        """User and system time of the program and its children so far."""
        return cpu_seconds(self.pid)

    def peak_rss(self) -> int:
        """Peak resident bytes, the program's and its children's added."""
        total = 0
        for pid in _family(self.pid):
            try:
                status = Path(f"/proc/{pid}/status").read_text()
            except OSError:
                continue
            total += sum(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:"))
        return total

    def stop(self, seconds: float = 12.0) -> None:
        """SIGTERM, and SIGKILL to what is left after a while."""
        if self._process.poll() is not None:
            return
        family = _family(self.pid)
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            for pid in family:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            self._process.wait()


class Together:
    """Processes that do one job, by what each is called."""

    def __init__(self, parts: Mapping[str, Measured]) -> None:
        self.parts = parts

    def cpu_seconds(self) -> float:
        """User and system time of all so far."""
        return sum(part.cpu_seconds() for part in self.parts.values())

    def peak_rss(self) -> int:
        """Peak resident bytes of each, added."""
        return sum(part.peak_rss() for part in self.parts.values())
