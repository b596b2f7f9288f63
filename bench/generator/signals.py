"""The three kinds of telemetry, as the command line and the ledgers name them."""

from __future__ import annotations

from typing import Literal

Signal = Literal["traces", "metrics", "logs"]

SIGNALS: tuple[Signal, ...] = ("traces", "metrics", "logs")

ITEMS: dict[Signal, str] = {"traces": "spans", "metrics": "points", "logs": "records"}
"""What each of them is counted in."""
