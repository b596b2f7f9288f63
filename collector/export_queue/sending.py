"""One attempt to send a job, by either kind of exporter."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np

from collector.ack import Outcome
from collector.component.exporter import ATTEMPT_TIMEOUTS, StagedExporter
from collector.errors import RejectedExportError
from collector.export_queue.job import Letter

if TYPE_CHECKING:
    from collector.component.exporter import Exporter
    from collector.export_queue.job import Job


class Sending:
    """Bounds the time of an attempt, and keeps what a `StagedExporter` made of the job for the next one."""

    def __init__(self, exporter: Exporter) -> None:
        self._exporter = exporter
        self._timeout = exporter.config.timeout / 1e9

    async def send(self, job: Job) -> Letter | None:
        """Send the job, once. What the backend refused of it, or None when it took all.

        Raises what the exporter raises, and `TimeoutError`.
        """
        if isinstance(self._exporter, StagedExporter):
            return await self._send_staged(self._exporter, job)
        request = job.request()
        try:
            async with asyncio.timeout(self._timeout):
                rejected = await self._exporter.export(request)
        finally:
            request.ack.resolve(Outcome.DELIVERED)
        return Letter(Outcome.DELIVERED, "partial_success", rejected=min(rejected, job.items)) if rejected > 0 else None

    async def _send_staged(self, exporter: StagedExporter, job: Job) -> Letter | None:
        if job.staged is None:
            job.staged = _stage(exporter, job)
        async with asyncio.timeout(self._timeout * ATTEMPT_TIMEOUTS):
            refusals = await exporter.send(job.staged)
        job.staged = None
        if not any(refusal.rows.any() for refusal in refusals):
            return None
        rows = np.logical_or.reduce([refusal.rows for refusal in refusals])
        return Letter(
            Outcome.DELIVERED,
            "refused",
            rejected=int(np.count_nonzero(rows)),
            refusals=deque(refusals),
            rows=rows,
        )


def _stage(exporter: StagedExporter, job: Job) -> Any:
    request = job.whole()
    try:
        return exporter.stage(request)
    except RejectedExportError:
        raise
    except Exception as error:
        raise RejectedExportError("the exporter can't translate it") from error
    finally:
        request.ack.resolve(Outcome.DELIVERED)
