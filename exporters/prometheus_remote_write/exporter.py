"""`PrometheusRemoteWriteExporter`: metrics to Prometheus and to what takes its remote write."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from collector.api import Refusal, RejectedExportError, RetryableExportError, Signal, StagedExporter
from exporters.prometheus_remote_write.accumulate import Accumulator
from exporters.prometheus_remote_write.dialect import Dialect
from exporters.prometheus_remote_write.lanes import LaneSender, Limits, Staged
from exporters.prometheus_remote_write.naming import Names
from exporters.prometheus_remote_write.options import RemoteWriteOptions
from exporters.prometheus_remote_write.over_http import Answer, Meaning, RemoteWriteSender
from exporters.prometheus_remote_write.reasons import DETAILS, REASONS
from exporters.prometheus_remote_write.sent_file import SentMemory
from exporters.prometheus_remote_write.text import bound_text, value_text
from exporters.prometheus_remote_write.totals_file import TotalsFile
from exporters.prometheus_remote_write.translate import Translator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from collector.api import Batch, BuildContext

_SAY_AGAIN_S = 60.0


class PrometheusRemoteWriteExporter(StagedExporter):
    """Remote write out. See `docs/components/prometheus_remote_write.md`."""

    Config = RemoteWriteOptions
    signals = frozenset({Signal.METRICS})

    def __init__(self, config: RemoteWriteOptions, context: BuildContext) -> None:
        super().__init__(config, context)
        deltas = config.delta_to_cumulative
        self._totals = Accumulator(deltas.max_streams, deltas.max_stale)
        self._file = TotalsFile(context.data_dir / f"{context.id.replace('/', '-')}.totals.db")
        self._translator: Translator | None = None
        self._sender = RemoteWriteSender(config)
        most = config.sent_memory.max_samples
        path = context.data_dir / f"{context.id.replace('/', '-')}.sent"
        self._memory = SentMemory(path, most, context.log) if most else None
        self._lanes = LaneSender(
            Dialect(self._sender, config.protobuf_message, metadata=config.send_metadata),
            Limits(config.max_samples_per_request, config.max_batch_size_bytes, config.max_retry_age / 1e9),
            time.monotonic,
            self._count_answer,
            self._memory,
        )
        self._said = float("-inf")
        meter = context.meter
        self._requests = meter.counter("butterfly_remote_write_requests_total")
        self._samples = meter.counter("butterfly_remote_write_samples_total").labels(exporter=context.id)
        self._refused = meter.counter("butterfly_remote_write_refused_points_total")
        self._infos = meter.counter("butterfly_remote_write_refused_target_info_total").labels(exporter=context.id)
        self._duplicates = meter.counter("butterfly_remote_write_duplicate_deltas_total").labels(exporter=context.id)
        self._cut = meter.counter("butterfly_remote_write_exemplar_labels_cut_total").labels(exporter=context.id)
        self._repeated = meter.counter("butterfly_remote_write_repeated_samples_total").labels(exporter=context.id)
        meter.watch("butterfly_remote_write_delta_streams", lambda: self._totals.count, exporter=context.id)

    @classmethod
    def problems(cls, config: Any) -> list[tuple[tuple[str | int, ...], str]]:
        """Combinations that can't work, or that would send in the clear what was to be encrypted."""
        found: list[tuple[tuple[str | int, ...], str]] = []
        if config.tls.configured and not config.secure:
            found.append((("tls",), "the endpoint is plaintext, but TLS is configured: use https:// or remove one"))
        if bool(config.tls.cert_file) != bool(config.tls.key_file):
            found.append((("tls",), "cert_file and key_file go together"))
        return found

    @classmethod
    def warnings(cls, config: Any) -> list[tuple[tuple[str | int, ...], str]]:
        """Secrets in the clear, or to anybody."""
        found: list[tuple[tuple[str | int, ...], str]] = []
        if config.headers and not config.secure and not config.target.loopback:
            found.append((("headers",), "headers are sent in plaintext to another machine"))
        if config.secure and config.tls.insecure_skip_verify:
            found.append((("tls", "insecure_skip_verify"), "anybody can pose as the backend"))
        return found

    async def start(self) -> None:
        """Read the sums over deltas and what was sent, and open the transport. Raises `ConfigError`."""
        config = self.config
        lost = await asyncio.to_thread(self._file.open, self._totals)
        if lost:
            self.context.log.error("some of the sums over deltas were damaged: these counters begin anew")
        if self._memory is not None:
            await asyncio.to_thread(self._memory.open, self._file.key, config.url)
        names = Names(config.strategy, config.namespace)
        target = f"{config.namespace}_target_info" if config.namespace else "target_info"
        self._translator = Translator(
            self._file.key,
            self._totals,
            names=names.translate,
            render=value_text,
            bound=bound_text,
            external=[(name.encode(), value.encode()) for name, value in config.external_labels.items()],
            resource_labels=config.resource_to_telemetry_conversion.enabled,
            scope_labels=not config.disable_scope_info,
            utf8=names.utf8,
            target_name=target.encode() if config.target_info.enabled else b"",
            lanes=config.remote_write_queue.num_consumers,
            tolerance_ns=config.future_tolerance,
        )
        await self._sender.start()

    async def stop(self) -> None:
        """Close the transport and the files."""
        await self._sender.stop()
        if self._memory is not None:
            self._memory.close()
        await asyncio.to_thread(self._file.close)

    def stage(self, batch: Batch) -> Staged:
        """Translate a request and add its deltas up."""
        if self._translator is None:
            raise RejectedExportError("the exporter is not started", divisible=False)
        before = self._totals.duplicates
        table = self._translator.translate(batch.payload, time.time_ns())
        self._duplicates.inc(self._totals.duplicates - before)
        self._cut.inc(table.exemplars_cut)
        changed, expired = self._totals.take_changes()
        return Staged(table, (changed, expired) if changed or expired else None)

    async def send(self, staged: Staged) -> Sequence[Refusal]:
        """Make the sums durable, then send what is left."""
        if staged.changes is not None:
            try:
                await asyncio.to_thread(self._file.write, *staged.changes)
            except sqlite3.Error:
                raise RetryableExportError("the sums over deltas can't be written to data_dir") from None
            staged.changes = None
        before = self._memory.repeated if self._memory is not None else 0
        try:
            stopped = await self._lanes.send(staged)
        finally:
            if self._memory is not None:
                self._repeated.inc(self._memory.repeated - before)
        if stopped:
            raise self._retry(stopped)
        return self._refusals(staged)

    def _retry(self, stopped: list[Answer]) -> RetryableExportError:
        wishes = [answer.wish for answer in stopped if answer.wish is not None]
        denied = next((answer for answer in stopped if answer.meaning is Meaning.DENIED), None)
        if denied is not None and self._may_say():
            self.context.log.error(
                "%s: check endpoint, headers, credentials and protobuf_message; the data is kept and tried again",
                denied.words,
            )
        return RetryableExportError((denied or stopped[0]).words, max(wishes, default=None))

    def _refusals(self, staged: Staged) -> list[Refusal]:
        reasons = staged.table.reasons
        found = []
        for number in np.unique(reasons[reasons != 0]):
            rows = reasons == number
            reason = REASONS[number]
            if not staged.counted:
                self._refused.labels(exporter=self.id, reason=reason).inc(int(np.count_nonzero(rows)))
            found.append(Refusal(rows, reason, DETAILS[reason]))
        if not staged.counted:
            self._infos.inc(staged.table.infos_refused)
        if staged.undivided and not staged.counted and self._may_say():
            self.context.log.error(
                "the backend refuses so much that the cause is no longer looked for: %d samples of one request were "
                "refused together, and are dead-lettered",
                staged.undivided,
            )
        staged.counted = True
        return found

    def _may_say(self) -> bool:
        """Whether the last error line is long enough ago for another."""
        now = time.monotonic()
        if now - self._said < _SAY_AGAIN_S:
            return False
        self._said = now
        return True

    def _count_answer(self, meaning: Meaning, samples: int) -> None:
        self._requests.labels(exporter=self.id, outcome=meaning.value).inc()
        if meaning is Meaning.TAKEN:
            self._samples.inc(samples)
