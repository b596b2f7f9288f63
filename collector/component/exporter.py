"""Exporters send one batch. Queue, batching, retry, timeout and dead letter live once, outside (`export_queue`)."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from collector.component.base import Component
from collector.options import Duration, Options, Size, option, seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from collector.batch import Batch


ATTEMPT_TIMEOUTS = 12
"""An attempt of a `StagedExporter` may take this many times `timeout`: it may consist of many requests."""


class BatchOptions(Options):
    """Batches are merged before they are sent."""

    flush_timeout: Duration = option(seconds(0.2), about="Longest time that a batch waits for others.", gt=0)
    min_size: int = option(8192, about="Items that are sent without waiting longer.", gt=0)
    max_size: int = option(16384, about="Items in one request at the most, where the batches allow it.", gt=0)
    max_bytes: Size = option(
        4_000_000,
        about="Payload bytes in one request at the most, where the batches allow it; OTLP servers often refuse 4 MiB.",
        gt=0,
    )


class QueueOptions(Options):
    """`sending_queue`: what waits for the backend, bounded by bytes."""

    queue_size: Size = option(64 << 20, about="Bytes that wait or are in flight, at the most.", gt=0)
    num_consumers: int = option(4, about="Requests in flight at once.", gt=0, le=256)
    batch: BatchOptions = option(BatchOptions(), about="How batches are merged.")


class RetryOptions(Options):
    """`retry_on_failure`: exponential backoff with jitter, under the backend's own wish where it gives one."""

    enabled: bool = option(True, about="Retry what the backend may take later.")
    initial_interval: Duration = option(seconds(0.5), about="First wait.", gt=0)
    multiplier: float = option(1.5, about="Growth of the wait.", ge=1)
    randomization_factor: float = option(0.5, about="Share of the wait that is random, either way.", ge=0, lt=1)
    max_interval: Duration = option(seconds(30), about="Longest wait.", gt=0)
    max_elapsed_time: Duration = option(
        0, about="Give up and dead-letter after this long; 0 never gives up, which back-pressure makes safe."
    )


class ExporterOptions(Options):
    """What every exporter can be told, with the Collector's names. Subclass it for `Config`."""

    timeout: Duration = option(seconds(5), about="Time for one attempt.", gt=0)
    sending_queue: QueueOptions = option(QueueOptions(), about="What waits for the backend.")
    retry_on_failure: RetryOptions = option(RetryOptions(), about="What happens when the backend can't take it.")


class Exporter(Component):
    """Base of exporters. `Config` derives from `ExporterOptions`."""

    Config = ExporterOptions

    order: Literal["any", "fifo"] = "any"
    """`fifo` asks for one request in flight at a time, in order."""

    async def start(self) -> None:
        """Open what is needed. An absent backend is not an error: the queue retries."""

    async def stop(self) -> None:
        """Close. Nothing is in flight any more."""

    async def export(self, batch: Batch) -> int:
        """Send one batch, once; return how many of its items the backend refused for good (partial success).

        Raises `RetryableExportError` or `RejectedExportError`; anything else counts as retryable. The queue bounds the
        time with cancellation. Don't touch `batch.ack`: the queue resolves it.
        """
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Refusal:
    """Items of one request that the backend will never take. They go to the dead letter, the others are delivered.

    `rows` is one bool per row of the staged batch's index; `reason` is one of a closed set of words of the exporter's;
    `detail` is a sentence for a person, without anything that the telemetry holds.
    """

    rows: NDArray[np.bool_]
    reason: str
    detail: str = ""

    @property
    def sentence(self) -> str:
        """What the dead letter says."""
        return f"{self.reason}: {self.detail}" if self.detail else self.reason


class StagedExporter(Exporter):
    """An exporter that translates what it sends, resumes where an attempt ended, and knows which items were refused.

    `export` is never called. The queue doesn't look for what a backend refuses in such a request: `send` does.
    """

    order = "fifo"

    @abstractmethod
    def stage(self, batch: Batch) -> Any:
        """Translate one request. Called once for each, in the order in which they leave, before its first attempt:
        state that must move on once per request, such as a sum over deltas, moves here. No I/O, no waiting.

        `batch.mask` is None. Raises `RejectedExportError` for a whole that can't be translated; anything else that it
        raises counts as that too, since it would raise again.
        """

    @abstractmethod
    async def send(self, staged: Any) -> Sequence[Refusal]:
        """One attempt to send what `stage` gave. What the backend took or refused is noted in `staged`, so that the
        next attempt sends the rest alone; cancellation may come at any await.

        Returns when nothing is left to send: all refusals of the whole request, those of `stage` included; no row
        twice. Raises `RetryableExportError` when something is, and `RejectedExportError` when all of it is refused.
        Each of its requests is bounded by `config.timeout` here; the queue gives an attempt `ATTEMPT_TIMEOUTS` times
        as long.
        """
