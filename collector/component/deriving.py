"""Connectors that make one signal of another: spans in, metrics out."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol

from collector.component.connector import Connector

if TYPE_CHECKING:
    from collector.batch import Signal
    from collector.component.processor import Processor


class Emit(Protocol):
    """Where what was made goes: into every pipeline that has the connector among its receivers."""

    def __call__(self, payload: bytes, count: int) -> None:
        """One OTLP request of the connector's `target` with `count` items. Takes no time and never raises; what no
        pipeline has room for is gone, so say cumulative things."""


class DerivingConnector(Connector):
    """Takes batches of `source` as an exporter does, and gives requests of `target` as a receiver does.

    It keeps nothing of what passes, so a batch that it was given is delivered, as far as the connector is concerned.
    What it remembers over a restart is its stages' affair, which may be `Stateful`.
    """

    source: ClassVar[Signal]
    target: ClassVar[Signal]

    def stage(self, name: str, emit: Emit, *, durable: bool) -> Processor:
        """The last processor of a pipeline that exports to the connector; one for each partition of a log, to be told
        by its `name`. It returns the batches that it is given, as they are, and may emit at any call. `durable` says
        that a log feeds the pipeline, so that the state of a `Stateful` stage is kept over restarts."""
        raise NotImplementedError
