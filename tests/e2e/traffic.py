"""Butterfly's own traffic from inside a test: a generator in a thread, its ledger, and the comparison."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from bench.generator.runner import Pace, Runner, Tally
from bench.generator.traces import Mix
from bench.generator.traffic import Shape, Traffic
from bench.generator.transport import connect
from bench.ledger import SenderLedger
from bench.truth import Report, Truth, compare, read_sink

if TYPE_CHECKING:
    from pathlib import Path


class Sending:
    """Traffic on its way in the background; `join` ends it."""

    def __init__(
        self,
        endpoint: str,
        *,
        protocol: str = "grpc",
        seed: int = 1,
        senders: int = 4,
        batch: int = 50,
        cycle: int = 20_000,
        mix: Mix | None = None,
        **pace: float,
    ) -> None:
        shape = Shape(seed=seed, senders=senders, batch=batch, spans=cycle, mix=mix or Mix())
        self.traffic = Traffic(shape)
        self.ledger = SenderLedger(shape)
        self.pace = Pace(**pace)  # type: ignore[arg-type]
        transports = connect(
            protocol, endpoint, shape.senders, timeout=10.0, compress=False, in_flight=self.pace.in_flight
        )
        self.runner = Runner(self.traffic, transports, self.pace, ledger=self.ledger)
        self.tally: Tally | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self.tally = self.runner.run()

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def join(self, within: float = 120.0) -> Tally:
        self._thread.join(within)
        assert not self.running, "the generator did not end"
        assert self.tally is not None
        return self.tally

    def report(self, sink: tuple[Path, ...], *, keep_share: float = 0.1) -> Report:
        """What was sent against what arrived."""
        truth = Truth(self.ledger.sent(self.traffic), slow_over=self.traffic.shape.mix.slow_over)
        return compare(truth, read_sink(sink), keep_share=keep_share)
