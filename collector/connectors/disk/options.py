"""The disk connector's configuration."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - pydantic needs the type at run time

from collector.connectors.disk.compression import Compression  # noqa: TC001 - same
from collector.connectors.disk.files import Synchronous  # noqa: TC001 - same
from collector.options import Duration, Options, Size, option


class DiskOptions(Options):
    """Where the log lives, how large it may become, and what a crash may cost."""

    directory: Path | None = option(None, about="Directory of the logs; by default the connector's name in data_dir.")
    max_size: Size = option(
        10 << 30, about="Bytes of all files of all signals, beyond which appends are refused.", ge=1 << 20
    )
    segment_size: Size = option(
        64 << 20, about="Bytes of one segment; space is freed a segment at a time.", ge=64 << 10
    )
    synchronous: Synchronous = option(
        "normal", about="What an acknowledged request survives: kill -9 (off, normal), power loss too (full)."
    )
    compression: Compression = option("gzip", about="How records are stored: none, gzip or zstd.")
    commit_interval: Duration = option(10_000_000, about="Longest time that an append waits for others.", le=10**9)
    max_record_size: Size = option(1 << 20, about="Small batches are merged up to this size.", ge=1 << 10, le=64 << 20)
    recent_bytes: Size = option(16 << 20, about="Bytes of a signal's newest records that are kept in memory.")
    max_pending: Size = option(64 << 20, about="Bytes of a signal that wait to be written, at the most.", ge=1 << 20)
