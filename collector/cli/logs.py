"""The gateway's own log: one line an event on standard error, as text or JSON. Never telemetry, never a secret."""

from __future__ import annotations

import json
import logging
import os
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from rich.logging import RichHandler

if TYPE_CHECKING:
    from rich.console import Console

Encoding = Literal["console", "json"]

_LIBRARIES = frozenset({"aiohttp", "asyncio", "concurrent", "grpc", "h2", "hpack", "hyperframe"})
_SAY_AGAIN_S = 60.0


class Discretion(logging.Filter):
    """Keeps the words of the network's libraries out of the log: they quote what peers sent, and for debugging also the
    headers that are sent to a backend, its credentials among them.

    That one of them complains is said, once a minute each. What asyncio caught is told to whoever asks for `debug`.
    """

    def __init__(self, *, debug: bool) -> None:
        super().__init__()
        self._debug = debug
        self._said: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether `record` is written; a library's is made to say less."""
        library = record.name.partition(".")[0]
        if library not in _LIBRARIES or (self._debug and library == "asyncio"):
            return True
        now = time.monotonic()
        if record.levelno < logging.WARNING or now - self._said.get(library, float("-inf")) < _SAY_AGAIN_S:
            return False
        self._said[library] = now
        hint = "; debug logging shows which" if library == "asyncio" else ""
        record.msg, record.args = f"a problem inside this library{hint}", ()
        record.exc_info = record.exc_text = record.stack_info = None
        return True


class JsonFormatter(logging.Formatter):
    """RFC 3339 time in milliseconds, level, logger, message."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "component": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info and record.exc_info[0] is not None:
            entry["error"] = record.exc_info[0].__name__
        return json.dumps(entry)


def hush_grpc() -> None:
    """Before gRPC is loaded: its C core writes a line to standard error for every peer that speaks bad TLS or HTTP/2,
    without a limit. `GRPC_VERBOSITY` brings them back.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")


def configure(level: str, encoding: Encoding, console: Console | None) -> None:
    """Set the root logger up, once. With a `console` the log shares the terminal with the live screen."""
    handler: logging.Handler
    if console is not None:
        handler = RichHandler(console=console, show_path=False, markup=False, highlighter=None)
        handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
    else:
        handler = logging.StreamHandler()
        handler.setFormatter(
            JsonFormatter()
            if encoding == "json"
            else logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
        )
    handler.addFilter(Discretion(debug=level.lower() == "debug"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
