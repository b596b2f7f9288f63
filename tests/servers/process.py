"""A process that a test owns: begun on free ports of 127.0.0.1, stopped by its pid, gone with whoever began it."""

from __future__ import annotations

import fcntl
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

# Becomes the command that follows it, in a process that the kernel kills when its starter is gone, however that ends.
_LEASH = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL
if os.getppid() == int(sys.argv[1]):
    os.execvp(sys.argv[2], sys.argv[2:])
"""
# The kernel's signal comes when the *thread* that forked ends, so all are begun by one that lasts.
_STARTER = ThreadPoolExecutor(1, thread_name_prefix="servers")
_given: set[int] = set()  # ports of this process's servers, which may be down just now
# A lock on one byte of this file for each of them: other processes of tests see it, and it goes with its holder.
_LOCKS = (Path(tempfile.gettempdir()) / f"butterfly-tests-ports-{os.getuid()}").open("ab")


class Process:
    """One process at a time, with a log file of all its lives."""

    def __init__(self, name: str, log: Path) -> None:
        self.name = name
        self.log = log
        self.frozen = False
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """For its CPU and memory. Raises `RuntimeError` where it isn't running."""
        if self._process is None or self._process.poll() is not None:
            raise RuntimeError(f"{self.name} isn't running")
        return self._process.pid

    def run(self, command: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> None:
        """Start the process, without waiting until it answers; `environment` is added to ours."""
        leashed = [sys.executable, "-S", "-c", _LEASH, str(os.getpid()), *map(str, command)]
        with self.log.open("ab") as log:
            begun = _STARTER.submit(
                subprocess.Popen,
                leashed,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **(environment or {})},
            )
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


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on and that no process of tests was given, below those that the kernel gives to
    outgoing connections.

    A server that is down must find its port free when it comes back, and one that begins a second later, too; and a
    client that knocks at a closed port of the kernel's range is, once in a while, given that very port to knock from,
    and then talks to itself.
    """
    seedless = random.SystemRandom()  # a test that seeds its own choices must not choose ports with them
    lowest_outgoing = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    found: list[int] = []
    while len(found) < count:
        port = seedless.randrange(lowest_outgoing // 2, lowest_outgoing)
        with socket.socket() as probe:
            if port not in _given and probe.connect_ex(("127.0.0.1", port)) != 0 and _claim(port):
                found.append(port)
                _given.add(port)
    return found


def _claim(port: int) -> bool:
    """Whether no other process has it."""
    try:
        fcntl.lockf(_LOCKS, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    return True
