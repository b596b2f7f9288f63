"""The gateway's own log: one line an event on standard error, as text or JSON. Never telemetry, never a secret."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from rich.logging import RichHandler

if TYPE_CHECKING:
    from rich.console import Console

Encoding = Literal["console", "json"]


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
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
