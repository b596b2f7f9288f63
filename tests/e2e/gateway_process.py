"""The gateway as a black box: `butterfly run` in a process of its own, on free ports, in a folder of its own."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Self

import yaml

from tests.servers.process import free_ports

ROOT = Path(__file__).resolve().parents[2]
BUTTERFLY = [sys.executable, "-m", "collector"]


def total(page: str, name: str, **labels: str) -> float:
    """Sum over the samples of a metric on a page of metrics that carry `labels`; 0 where there are none."""
    found = 0.0
    for line in page.splitlines():
        match = re.fullmatch(rf"{name}(?:{{(.*)}})? (\S+)", line)
        if match and all(f'{key}="{value}"' in (match[1] or "") for key, value in labels.items()):
            found += float(match[2])
    return found


def free_port() -> int:
    """One of `free_ports`."""
    return free_ports(1)[0]


def quickstart(folder: Path, **tail_sampling: Any) -> dict[str, Any]:
    """What `configs/quickstart.yaml` does with traces, on free ports, its files in `folder`.

    `tail_sampling` are options of that processor, over those of the file.
    """
    config = yaml.safe_load((ROOT / "configs" / "quickstart.yaml").read_text())
    pipelines = config["service"]["pipelines"]
    config["service"]["pipelines"] = {name: each for name, each in pipelines.items() if name.startswith("traces")}
    for section, others in {"processors": ["exemplar_linker"], "exporters": ["file/metrics", "file/logs"]}.items():
        for each in others:
            del config[section][each]
    protocols = config["receivers"]["otlp"]["protocols"]
    protocols["grpc"]["endpoint"] = f"127.0.0.1:{free_port()}"
    protocols["http"]["endpoint"] = f"127.0.0.1:{free_port()}"
    config["exporters"]["file"]["path"] = str(folder / "kept.jsonl")
    config["processors"]["tail_sampling"].update(tail_sampling)
    config["service"]["data_dir"] = str(folder / "data")
    config["service"].setdefault("telemetry", {})["metrics"] = {"address": f"127.0.0.1:{free_port()}"}
    return config


class Gateway:
    """One configuration, started and stopped as often as a test wants. Use as a context manager."""

    def __init__(self, config: dict[str, Any], folder: Path, *arguments: str) -> None:
        self.config, self.folder, self.arguments = config, folder, arguments
        self.process: subprocess.Popen[bytes] | None = None
        self.file = folder / "gateway.yaml"
        self.log = folder / "gateway.log"
        self.file.write_text(yaml.safe_dump(config))

    @property
    def grpc(self) -> str:
        return self.config["receivers"]["otlp"]["protocols"]["grpc"]["endpoint"]

    @property
    def http(self) -> str:
        return self.config["receivers"]["otlp"]["protocols"]["http"]["endpoint"]

    @property
    def admin(self) -> str:
        return "http://" + self.config["service"]["telemetry"]["metrics"]["address"]

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self, *, wait: bool = True) -> None:
        """Start; with `wait`, return when it is ready."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*BUTTERFLY, "run", "--no-screen", "-c", str(self.file), *self.arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
            )
        if wait:
            self.wait_ready()

    def wait_ready(self, within: float = 20.0) -> float:
        """Seconds until `/readyz` said yes."""
        began = time.monotonic()
        while time.monotonic() - began < within:
            assert self.process is not None
            assert self.process.poll() is None, f"the gateway ended:\n{self.log.read_text()}"
            if self.get("/readyz")[0] == 200:
                return time.monotonic() - began
            time.sleep(0.02)
        raise AssertionError(f"not ready after {within} s: {self.get('/readyz')}\n{self.log.read_text()}")

    def get(self, path: str) -> tuple[int, str]:
        """Status and text of an admin page; status 0 when nobody answers."""
        try:
            with urllib.request.urlopen(self.admin + path, timeout=5) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def answer(self, path: str, within: float = 15.0, wanted: int | None = None) -> tuple[int, str]:
        """The same when somebody answers, with the `wanted` status. Raises `AssertionError` when nobody does."""
        give_up = time.monotonic() + within
        while True:
            status, text = self.get(path)
            if status and wanted in {None, status}:
                return status, text
            assert time.monotonic() < give_up, f"no answer within {within} s\n{self.log.read_text()}"
            time.sleep(0.05)

    def metrics(self, within: float = 15.0) -> str:
        """The page of metrics. Silence is no page of zeros: raises `AssertionError` when nobody answers."""
        return self.answer("/metrics", within, wanted=200)[1]

    def metric(self, name: str, **labels: str) -> float:
        """Sum over the samples of a metric that carry `labels`. Raises `AssertionError` when nobody answers."""
        return total(self.metrics(), name, **labels)

    def terminate(self, within: float = 9.0) -> float:
        """SIGTERM; the seconds until it ended with exit code 0."""
        assert self.process is not None
        began = time.monotonic()
        self.process.terminate()
        code = self.process.wait(within)
        assert code == 0, f"exit code {code}\n{self.log.read_text()}"
        return time.monotonic() - began

    def kill(self) -> None:
        """`kill -9`."""
        if self.process is not None and self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, signal.SIGKILL)
            self.process.wait(10)

    def rss(self) -> int:
        """Resident bytes now."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def cpu_seconds(self) -> float:
        """User and system time so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def drained(self, within: float = 60.0) -> None:
        """Wait until every pipeline holds nothing and the log is settled."""
        began = time.monotonic()
        while time.monotonic() - began < within:
            page = self.metrics()
            if total(page, "butterfly_held_items") == 0 and (
                total(page, "butterfly_log_end") == total(page, "butterfly_log_committed")
            ):
                return
            time.sleep(0.1)
        raise AssertionError(f"not drained after {within} s\n{self.get('/metrics')[1]}\n{self.log.read_text()}")

    def kept_files(self) -> tuple[Path, ...]:
        """Everything the file exporter wrote, oldest first as far as that matters."""
        return tuple(sorted(self.folder.glob("kept*.jsonl*")))
