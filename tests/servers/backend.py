"""What the real backends of tests have in common: one program, ready when it answers, begun again where it was."""

from __future__ import annotations

import json
import signal
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, Self

from tests.servers import build
from tests.servers.process import Process


class ServerMissingError(RuntimeError):
    """A server is not on this machine; the message says how to get it."""


def built(name: str) -> Path:
    """The program of that name in `build.py`. Raises `ServerMissingError`."""
    path = build.binary(name)
    if not path.exists():
        raise ServerMissingError(f"{name} is not built: python tests/servers/build.py {name}")
    return path


class Backend(Process):
    """A server with its ports and its data in `folder`, which outlive a stop. Use as a context manager.

    Every method blocks: in an event loop that must go on, call it through `asyncio.to_thread`. A subclass gives
    `_command`, its address `_url` and a `_health` path that answers 200 when it is ready.
    """

    _url: str
    _health: str
    _environment: dict[str, str] = {}  # noqa: RUF012 - never changed

    def __init__(self, name: str, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__(name, folder / f"{name}.log")
        self.folder = folder

    def _command(self) -> list[str | Path]:
        raise NotImplementedError

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self, within: float = 30) -> None:
        """Start and return when it is ready. Raises `RuntimeError` with its last words, or `TimeoutError`."""
        deadline = time.monotonic() + within
        self.run(self._command(), self._environment)
        while self._status() != 200:
            if not self.running:
                raise RuntimeError(f"{self.name} ended: {self.log.read_text(errors='replace')[-2000:]}")
            if time.monotonic() > deadline:
                self.kill()
                raise TimeoutError(f"{self.name} was not ready within {within} s")
            time.sleep(0.02)

    def stop(self, within: float = 20) -> None:
        """End it in an orderly way, frozen or not; killed after `within` seconds."""
        self.signal(signal.SIGTERM)
        self.signal(signal.SIGCONT)
        self.wait(within)

    def kill(self) -> None:
        """`kill -9`; returns when the process is gone."""
        self.signal(signal.SIGKILL)
        self.wait(5)

    def pause(self) -> None:
        """Freeze it: connections stay open and nothing answers."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let what `pause` froze go on."""
        self.signal(signal.SIGCONT)

    def get(self, path: str, **parameters: str | float) -> bytes:
        """The answer's body. Raises `RuntimeError` with the server's words if it isn't 200."""
        # As a form, in the body: a query may be longer than an address can be.
        body = urllib.parse.urlencode(parameters).encode() if parameters else None
        try:
            with urllib.request.urlopen(self._url + path, body, timeout=60) as reply:
                return reply.read()
        except urllib.error.HTTPError as error:
            with error:
                raise RuntimeError(f"{self.name} answers {error.code}: {error.read().decode()}") from error

    def get_json(self, path: str, **parameters: str | float) -> Any:
        """The same, parsed."""
        return json.loads(self.get(path, **parameters))

    def _status(self) -> int:
        try:
            with urllib.request.urlopen(self._url + self._health, timeout=5) as reply:
                return reply.status
        except urllib.error.HTTPError as error:
            with error:
                return error.code
        except OSError:
            return 0
