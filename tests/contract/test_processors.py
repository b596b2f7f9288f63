"""The built-in processors, and one of a user's own, under the contract that is shipped; and the contract itself."""

import gc

import numpy as np
import pytest

from collector.api import Ack, Context, Options, Outcome, Processor, Signal, option, validate_logs, validate_metrics
from collector.testing.batches import (
    batch_of,
    logs_payload,
    metrics_payload,
    metrics_request,
    payload_of,
    traces_batch,
    traces_payload,
)
from collector.testing.contract import ProcessorContract
from processors.cardinality_limiter import CardinalityLimiter
from processors.memory_limiter import MemoryLimiter
from processors.tail_sampling import TailSampling


class DropHealthChecks(Processor):
    """The example of `collector.api`."""

    class Config(Options):
        route: str = option("/healthz", about="Route whose spans are dropped.")

    pure = True

    def process(self, batch):
        def keep(span):
            return span.attributes.get("http.route") != self.config.route

        return [batch.filter(keep, "health_check")]


class RenameLayers(Processor):
    """Edits spans."""

    pure = True

    def process(self, batch):
        views = batch.spans()
        for view in views:
            if view.name == "layer.execute":
                view.name = "layer"
                view.attributes["renamed"] = True
        return [batch.apply(views)]


class DropUnusedMetrics(Processor):
    """Drops and edits data points."""

    signals = frozenset({Signal.METRICS})
    pure = True

    def process(self, batch):
        points = batch.points()
        for point in points:
            if "user.email" in point.attributes:
                del point.attributes["user.email"]
        return [batch.apply(points).filter(lambda point: point.name != "gpu.utilization", "unused")]


class ShortenBodies(Processor):
    """Edits log records and drops the least of them."""

    signals = frozenset({Signal.LOGS})
    pure = True

    def process(self, batch):
        records = batch.records()
        for record in records:
            if isinstance(record.body, str):
                record.body = record.body[:10]
        return [batch.apply(records).filter(lambda record: record.severity_number >= 9, "debug")]


class MergeByContext(Processor):
    """Holds batches until there are three of a context."""

    def __init__(self, config, context):
        super().__init__(config, context)
        self.held = {}

    def process(self, batch):
        held = self.held.setdefault(batch.context, [])
        held.append(batch)
        return [type(batch).merge(self.held.pop(batch.context))] if len(held) == 3 else []

    def drain(self):
        held, self.held = self.held, {}
        return [type(batches[0]).merge(batches) for batches in held.values()]


class TestDropHealthChecks(ProcessorContract):
    processor = DropHealthChecks

    def test_it_drops_them(self):
        (batch,) = self.build().process(traces_batch(50))
        kept = [span.attributes["http.route"] for span in batch.spans()]
        batch.ack.resolve(Outcome.DELIVERED)
        assert set(kept) == {"/infer"}
        assert 0 < len(kept) < 50


class TestRenameLayers(ProcessorContract):
    processor = RenameLayers


class TestDropUnusedMetrics(ProcessorContract):
    processor = DropUnusedMetrics

    def test_it_drops_and_edits_them(self):
        (batch,) = self.build().process(batch_of(Signal.METRICS, 60))
        points = batch.points()
        batch.ack.resolve(Outcome.DELIVERED)
        assert 0 < len(points) < 60
        assert "gpu.utilization" not in {point.name for point in points}
        assert {key for point in points for key in point.attributes} == {"http.route", "layer"}


class TestShortenBodies(ProcessorContract):
    processor = ShortenBodies

    def test_it_shortens_them(self):
        (batch,) = self.build().process(batch_of(Signal.LOGS, 60))
        records = batch.records()
        batch.ack.resolve(Outcome.DELIVERED)
        assert {record.severity_text for record in records} == {"INFO", "WARN", "ERROR"}
        assert {len(record.body) for record in records if isinstance(record.body, str)} <= {9, 10}


class TestDropHealthChecksOfLogs(ProcessorContract):
    """What looks at attributes alone holds for every signal."""

    processor = DropHealthChecks
    signal = Signal.LOGS


class TestMergeByContext(ProcessorContract):
    processor = MergeByContext


class TestMergeByContextOfMetrics(ProcessorContract):
    processor = MergeByContext
    signal = Signal.METRICS


class TestPassThrough(ProcessorContract):
    processor = Processor


class TestMemoryLimiter(ProcessorContract):
    processor = MemoryLimiter
    config = {"limit_mib": 512}  # noqa: RUF012 - as a user writes it


class TestMemoryLimiterOfMetrics(TestMemoryLimiter):
    signal = Signal.METRICS


class TestTailSampling(ProcessorContract):
    processor = TailSampling
    config = {  # noqa: RUF012
        "decision_wait": "10s",
        "policies": (
            {"name": "errors", "type": "status_code", "status_code": {"status_codes": ["ERROR"]}},
            {"name": "slow", "type": "latency", "latency": {"threshold_ms": 9000}},
        ),
    }


class TestCardinalityLimiter(ProcessorContract):
    processor = CardinalityLimiter


class TestCardinalityLimiterThatOverflows(ProcessorContract):
    processor = CardinalityLimiter
    config = {"max_series_per_metric": 3}  # noqa: RUF012


class TestCardinalityLimiterThatDropsLabels(ProcessorContract):
    processor = CardinalityLimiter
    config = {"max_values_per_label": 2}  # noqa: RUF012


class TestCardinalityLimiterThatDrops(ProcessorContract):
    processor = CardinalityLimiter
    config = {"max_series": 7, "action": "drop"}  # noqa: RUF012


class Swallows(Processor):
    def process(self, batch):
        return [batch] if len(batch) > 5 else []


class SwallowsEmpty(Processor):
    def process(self, batch):
        return [batch] if len(batch) else []


class Doubles(Processor):
    def process(self, batch):
        return [batch, batch]


class Forgets(Processor):
    def process(self, batch):
        first, _second = batch.fan_out(2)
        return [first]


class AnswersItself(Processor):
    def process(self, batch):
        batch.ack.resolve(Outcome.DELIVERED)
        return []


class Invents(Processor):
    def process(self, batch):
        return [type(batch)(batch.payload * 2, batch.ack, context=batch.context)]


class Unbooked(Processor):
    def process(self, batch):
        mask = np.zeros(batch.index.count, np.bool_)
        return [type(batch)(batch.payload, batch.ack, context=batch.context, mask=mask)]


class Garbles(Processor):
    def process(self, batch):
        return [type(batch)(b"\xff", batch.ack, context=batch.context, count=len(batch))]


class Anonymises(Processor):
    def process(self, batch):
        return [type(batch)(batch.payload, batch.ack, context=Context(), count=len(batch))]


class Transmutes(Processor):
    def process(self, batch):
        return [type(batch)(traces_payload(len(batch)), batch.ack, context=batch.context)]


class NeverPure(MergeByContext):
    pure = True


class Remembers(Processor):
    pure = True

    def process(self, batch):
        self.seen = getattr(self, "seen", 0) + 1
        return [batch.select(np.zeros(batch.index.count, np.bool_))] if self.seen > 8 else [batch]


class HoldsOn(Processor):
    def process(self, batch):
        self.batch = getattr(self, "batch", []) + [batch]  # noqa: RUF005
        return []

    def drain(self):
        return [self.batch.pop()] if getattr(self, "batch", None) else []


class Chatty(Processor):
    def tick(self, now_ns):
        del now_ns
        batch = traces_batch(1)
        batch.ack.resolve(Outcome.DELIVERED)
        return [batch]


class Confused(Processor):
    def process(self, batch):
        batch.ack.resolve(Outcome.FILTERED)
        return [b"bytes"]


@pytest.mark.parametrize(
    ("wrong", "test", "message"),
    [
        (Swallows, "every_batch_is_answered_exactly_once", "dropped unresolved|answered 0 times"),
        (SwallowsEmpty, "an_empty_batch_is_returned", "an emptied batch was not returned"),
        (Doubles, "every_batch_is_answered_exactly_once", "returned twice"),
        (Forgets, "every_batch_is_answered_exactly_once", "dropped unresolved|answered 0 times"),
        (AnswersItself, "the_books_balance", "neither delivered nor booked"),
        (Invents, "the_books_balance", "neither delivered nor booked"),
        (Unbooked, "the_books_balance", "neither delivered nor booked"),
        (Garbles, "what_comes_out_is_otlp", "."),
        (Anonymises, "contexts_are_kept_apart", "lost its sender's context"),
        (NeverPure, "a_pure_processor_holds_nothing_and_repeats_itself", "may hold nothing"),
        (Remembers, "a_pure_processor_holds_nothing_and_repeats_itself", "may remember nothing"),
        (HoldsOn, "drain_leaves_nothing_held", "second drain"),
        (Chatty, "ticks_alone_give_nothing", "before one went in"),
        (Confused, "every_batch_is_answered_exactly_once", "expected batches, got bytes"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_the_contract_catches(wrong, test, message):
    class Held(ProcessorContract):
        processor = wrong

    with pytest.raises((AssertionError, ValueError), match=message):
        getattr(Held(), f"test_{test}")()
    gc.collect()


def test_the_contract_catches_a_change_of_signal():
    class Held(ProcessorContract):
        processor = Transmutes
        signal = Signal.LOGS

    with pytest.raises(AssertionError, match="became one of traces"):
        Held().test_what_comes_out_is_otlp()
    gc.collect()


@pytest.mark.parametrize("signal", [Signal.METRICS, Signal.LOGS])
def test_samples_of_other_signals_are_the_same_for_a_seed(signal):
    assert payload_of(signal, 30, 1) == payload_of(signal, 30, 1)
    assert payload_of(signal, 30, 1) != payload_of(signal, 30, 2)
    batch = batch_of(signal, 200)
    assert len(batch) == batch.index.count == 200
    batch.ack.resolve(Outcome.DELIVERED)


def test_samples_of_metrics_and_logs_have_everything():
    points = validate_metrics(metrics_payload(300))
    assert set(points.kind) == {5, 7, 9, 10, 11}
    assert set(points.temporality) == {0, 1, 2}
    assert set(points.exemplars) == {0, 1}
    assert (
        points.metric_offset.size
        == 20
        == sum(
            len(scope.metrics) for resource in metrics_request(300).resource_metrics for scope in resource.scope_metrics
        )
    )
    records = validate_logs(logs_payload(100))
    assert set(records.severity) == {5, 9, 13, 17}
    assert (records.trace_hi == 0).sum() == 50
    assert not records.defects.any()


def test_samples_are_the_same_for_a_seed_and_have_everything():
    assert traces_payload(30, 1) == traces_payload(30, 1)
    assert traces_payload(30, 1) != traces_payload(30, 2)
    batch = traces_batch(200)
    assert len(batch) == batch.index.count == 200
    assert len(np.unique(batch.index.trace_lo)) == 5
    assert set(batch.index.status) == {0, 2}
    assert (batch.index.parent_id == 0).sum() == 5
    assert any(view.event_names for view in batch.spans())
    assert not batch.index.defects.any()
    batch.ack.resolve(Outcome.DELIVERED)


def test_a_sample_takes_an_ack():
    answers = []
    traces_batch(3, ack=Ack(lambda outcome, reason: answers.append(outcome))).ack.resolve(Outcome.RETRY)
    assert answers == [Outcome.RETRY]
