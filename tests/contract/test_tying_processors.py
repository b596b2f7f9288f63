"""What ties the signals together, under the contract of processors: for each signal that it takes."""

import logging

import numpy as np
import pytest

from collector.api import BuildContext, Decided, Signal, scan_logs, scan_metrics
from collector.connectors.span_metrics import SpanMetricsConnector
from collector.connectors.span_metrics.connector import SpanCounter
from collector.testing.batches import payload_of
from collector.testing.contract import ProcessorContract
from processors.correlation import Correlation
from processors.exemplar_linker import ExemplarLinker
from processors.log_sampling import LogSampling


def half_kept(board, hi, lo):
    """Every other trace is kept, every third undecided."""
    board.followed = True
    rows = np.flatnonzero(np.arange(len(hi)) % 3)
    board.publish(Decided(hi[rows], lo[rows], rows % 2 == 0))


class TestExemplarLinker(ProcessorContract):
    processor = ExemplarLinker

    def build(self):
        linker = super().build()
        for payload in self.payloads():
            half_kept(linker.board, *linker.traces_of(batch(payload, Signal.METRICS)))
        return linker

    def test_it_takes_some_exemplars_away(self):
        run = self.drive(self.build(), self.payloads())
        before = sum(int(scan_metrics(payload).exemplars.sum()) for payload in self.payloads())
        after = sum(int(each.index.exemplars.sum()) for each in run.outputs)
        assert 0 < after < before


class TestLogSampling(ProcessorContract):
    processor = LogSampling

    def build(self):
        sampling = super().build()
        for payload in self.payloads():
            index = scan_logs(payload)
            half_kept(sampling.board, index.trace_hi, index.trace_lo)
        return sampling

    def test_it_drops_some(self):
        run = self.drive(self.build(), self.payloads())
        assert 0 < run.account.filtered["trace_dropped"] < run.account.accepted


class TestCorrelationOfLogs(ProcessorContract):
    processor = Correlation
    signal = Signal.LOGS

    def build(self):
        it = super().build()
        for payload in self.payloads():
            index = scan_logs(payload)
            for hi, lo in zip(index.trace_hi.tolist(), index.trace_lo.tolist(), strict=True):
                it.context.board.request_ids.tell(hi << 64 | lo, b"req-%d" % (lo % 1000))
        return it


class TestCorrelationOfMetrics(ProcessorContract):
    processor = Correlation
    signal = Signal.METRICS


class TestCorrelationOfTraces(ProcessorContract):
    processor = Correlation
    signal = Signal.TRACES


class TestSpanMetrics(ProcessorContract):
    """The stage at the end of a pipeline of traces: it passes on what it is given, and counts."""

    processor = SpanCounter
    signal = Signal.TRACES

    @pytest.fixture(autouse=True, params=[False, True])
    def durable(self, request):
        self.is_durable = request.param

    def build(self):
        config = SpanMetricsConnector.Config.model_validate({"exemplars": {"enabled": True}})
        context = BuildContext(id="under_test", log=logging.getLogger("butterfly.under_test"))
        self.emitted = []
        connector = SpanMetricsConnector(config, context)
        return connector.stage("traces", lambda *made: self.emitted.append(made), durable=self.is_durable)

    def test_it_counts_what_passes(self):
        self.drive(self.build(), self.payloads())
        assert bool(self.emitted) is not self.is_durable, "out of a log only what is kept is told"


def batch(payload, signal):
    from collector.api import Ack, Batch

    return Batch(payload, Ack.ignore(), signal=signal)


def test_the_samples_are_what_these_processors_are_about():
    assert scan_metrics(payload_of(Signal.METRICS, 50, 1)).exemplars.any()
    assert scan_logs(payload_of(Signal.LOGS, 50, 1)).trace_hi.any()
