"""The contract of processors as tests. Yours are held to what the built-in ones are held to:

    from collector.testing.contract import ProcessorContract

    class TestDropHealth(ProcessorContract):
        processor = DropHealth
        config = {"route": "/healthz"}
        signal = Signal.LOGS            # without it: traces, or the first signal that the processor takes

pytest then runs every `test_*` below on it. What it sees is what the graph does: batches in, ticks of an hour made up,
drain; and every batch that comes out is delivered, or acknowledged as filtered when it is empty.
"""

from __future__ import annotations

import gc
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np

from collector.ack import leaked
from collector.api import (
    Account,
    Ack,
    Batch,
    BuildContext,
    Context,
    Lookahead,
    Outcome,
    Processor,
    Signal,
    Stateful,
    validate,
    validate_logs,
    validate_metrics,
)
from collector.testing.batches import START_NS, payload_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from collector.api import LogIndex, PointIndex, SpanIndex

_TICK_NS = 100_000_000
_TICKS = 40
_JUMP_NS = 3600 * 10**9
_CONTEXTS = (Context("a"), Context("b"))
_VALIDATE: Mapping[Signal, Callable[[bytes], SpanIndex | PointIndex | LogIndex]] = {
    Signal.TRACES: validate,
    Signal.METRICS: validate_metrics,
    Signal.LOGS: validate_logs,
}


@dataclass(slots=True)
class Run:
    """What became of some batches: `answers[i]` are the answers to the i-th, `outputs` what came out, in order."""

    answers: list[list[Outcome]]
    account: Account
    outputs: list[Batch] = field(default_factory=list)
    held: int = 0
    """How many batches weren't answered by what their own `process` returned."""


class ProcessorContract:
    """Subclass it in a test module, with `processor` and, where it needs one, `config` as the YAML would give it.

    `signal` is what is sent through it: of one that takes several, make a subclass for each.
    """

    processor: ClassVar[type[Processor]]
    config: ClassVar[Mapping[str, Any]] = {}
    signal: ClassVar[Signal | None] = None

    def payloads(self) -> Sequence[bytes]:
        """The requests that are sent; override it for what yours is about."""
        signal = self.sent_signal()
        return [payload_of(signal, items, seed) for seed, items in enumerate((20, 1, 50, 7, 20, 20))]

    def sent_signal(self) -> Signal:
        """`signal`, or the first that the processor takes."""
        return self.signal or next(signal for signal in Signal if signal in self.processor.signals)

    def build(self) -> Processor:
        """A fresh processor; override it when yours needs more than a config."""
        config = self.processor.Config.model_validate(dict(self.config))
        return self.processor(config, BuildContext(id="under_test", log=logging.getLogger("butterfly.under_test")))

    def drive(self, processor: Processor, payloads: Sequence[bytes], *, empty: bool = False) -> Run:
        return drive(processor, payloads, signal=self.sent_signal(), empty=empty)

    def test_every_batch_is_answered_exactly_once(self) -> None:
        payloads = self.payloads()
        before = leaked()
        run = self.drive(self.build(), payloads)
        for at, answers in enumerate(run.answers):
            require(len(answers) == 1, f"batch {at} was answered {len(answers)} times: return every batch, once")
        gc.collect()
        require(leaked() == before, "an acknowledgement was dropped unresolved")

    def test_the_books_balance(self) -> None:
        run = self.drive(self.build(), self.payloads())
        account = run.account
        require(account.imbalance() == 0, "items were lost or invented")
        require(account.held == 0, f"{account.held} items are neither delivered nor booked as filtered")

    def test_what_comes_out_is_otlp(self) -> None:
        for batch in self.drive(self.build(), self.payloads()).outputs:
            require(batch.signal is self.sent_signal(), f"a batch became one of {batch.signal.value}")
            index = _VALIDATE[batch.signal](batch.to_bytes())
            require(index.count == len(batch), f"a batch of {index.count} items says it has {len(batch)}")

    def test_payloads_are_not_edited(self) -> None:
        payloads = [bytes(bytearray(payload)) for payload in self.payloads()]
        copies = [bytes(bytearray(payload)) for payload in payloads]
        self.drive(self.build(), payloads)
        require(payloads == copies, "a payload was edited in place, which others share")

    def test_contexts_are_kept_apart(self) -> None:
        """What one sender sent never goes on in another's name."""
        payloads = self.payloads()
        run = self.drive(self.build(), payloads)
        counts = [_VALIDATE[self.sent_signal()](payload).count for payload in payloads]
        for at, context in enumerate(_CONTEXTS):
            sent = sum(counts[at :: len(_CONTEXTS)])
            found = sum(len(batch) for batch in run.outputs if batch.context == context)
            require(found <= sent, f"{found} items went on in the name of a sender of {sent}")
        strangers = [batch.context for batch in run.outputs if batch.context not in _CONTEXTS]
        require(not strangers, f"a batch lost its sender's context: {strangers[:1]}")

    def test_an_empty_batch_is_returned(self) -> None:
        run = self.drive(self.build(), [b"", payload_of(self.sent_signal(), 3)], empty=True)
        require(run.answers == [[Outcome.FILTERED]] * 2, "an emptied batch was not returned")

    def test_drain_leaves_nothing_held(self) -> None:
        processor = self.build()
        self.drive(processor, self.payloads())
        require(not list(processor.drain()), "a second drain found what the first should have returned")

    def test_ticks_alone_give_nothing(self) -> None:
        processor = self.build()
        for at in range(3):
            require(not list(processor.tick(START_NS + at * _TICK_NS)), "a batch came out before one went in")
        require(not list(processor.drain()), "a batch came out before one went in")

    def test_a_pure_processor_holds_nothing_and_repeats_itself(self) -> None:
        if not self.processor.pure:
            return
        payloads = self.payloads()
        require(not issubclass(self.processor, Lookahead), "a lookahead processor is never pure")
        processor = self.build()
        first = self.drive(processor, payloads)
        require(first.held == 0, "a pure processor may hold nothing")
        for again in (self.drive(processor, payloads), self.drive(self.build(), payloads)):
            require(
                [batch.to_bytes() for batch in again.outputs] == [batch.to_bytes() for batch in first.outputs],
                "the same batches gave another result: a pure processor may remember nothing",
            )

    def test_a_stateful_processor_goes_on_where_it_was(self) -> None:
        if not issubclass(self.processor, Stateful):
            return
        payloads = self.payloads()
        half = len(payloads) // 2
        processor, again = cast("Stateful", self.build()), cast("Stateful", self.build())
        run = self.drive(processor, payloads[:half])
        require(run.held == 0, "a stateful processor may hold no batches: its state is that of a position")
        taken = processor.snapshot()
        again.restore(taken if isinstance(taken, bytes) else b"".join(taken))
        require(
            [batch.to_bytes() for batch in self.drive(again, payloads[half:]).outputs]
            == [batch.to_bytes() for batch in self.drive(processor, payloads[half:]).outputs],
            "what was restored went on in another way than what was taken",
        )
        try:
            cast("Stateful", self.build()).restore(b"no state of anybody's")
        except ValueError:
            return
        raise AssertionError("a state that can't be read must be refused with ValueError")


def drive(
    processor: Processor, payloads: Sequence[bytes], *, signal: Signal = Signal.TRACES, empty: bool = False
) -> Run:
    """Send `payloads` through `processor` as the graph does. With `empty`, every row is deselected beforehand."""
    run = Run([[] for _ in payloads], Account("under_test"))
    batches = [_sent(payload, signal, at, run, empty=empty) for at, payload in enumerate(payloads)]
    now_ns = START_NS
    if isinstance(processor, Lookahead):
        _observe(processor, payloads, signal)
    for batch, answers in zip(batches, run.answers, strict=True):
        _settle(processor.process(batch), run)
        run.held += not answers
        _settle(processor.tick(now_ns), run)
        now_ns += _TICK_NS
    batches.clear()
    for _ in range(_TICKS):
        _settle(processor.tick(now_ns), run)
        now_ns += _TICK_NS
    _settle(processor.tick(now_ns + _JUMP_NS), run)
    _settle(processor.drain(), run)
    return run


def require(holds: object, message: str) -> None:
    """Raise `AssertionError` with `message` unless `holds`."""
    if not holds:
        raise AssertionError(message)


def _sent(payload: bytes, signal: Signal, at: int, run: Run, *, empty: bool) -> Batch:
    answers = run.answers[at]
    index = _VALIDATE[signal](payload)
    run.account.accept(index.count)
    batch = Batch(
        payload,
        Ack(lambda outcome, _reason: answers.append(outcome)),
        signal=signal,
        context=_CONTEXTS[at % len(_CONTEXTS)],
        index=index,
        account=run.account,
    )
    return batch.select(np.zeros(index.count, np.bool_), "earlier") if empty else batch


def _spent() -> Ack:
    """An ack for batches that are only looked at."""
    ack = Ack.ignore()
    ack.resolve(Outcome.DELIVERED)
    return ack


def _observe(processor: Lookahead, payloads: Sequence[bytes], signal: Signal) -> None:
    for at, payload in enumerate(payloads):
        processor.tick(START_NS + at * _TICK_NS)
        processor.observe(Batch(payload, _spent(), signal=signal), at, at + 1, START_NS + at * _TICK_NS)
    processor.decide_all()
    require(processor.boundary() >= len(payloads), "records are undecided after decide_all")
    processor.take_verdicts()


def _settle(batches: Iterable[Batch], run: Run) -> None:
    """End what came out, as exporters would."""
    for batch in batches:
        require(isinstance(batch, Batch), f"expected batches, got {type(batch).__name__}")
        require(not batch.ack.resolved, "a batch was returned twice, or its acknowledgement is spent")
        items = len(batch)
        run.outputs.append(batch.with_ack(_spent()))
        if items:
            run.account.deliver(items)
            batch.ack.resolve(Outcome.DELIVERED)
        else:
            batch.ack.resolve(Outcome.FILTERED)
