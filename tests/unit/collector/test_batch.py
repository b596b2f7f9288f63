"""`Batch`: selections, edits, splits and merges, with the ack and the books following."""

from __future__ import annotations

import numpy as np
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from collector.ack import Ack, Outcome
from collector.batch import Batch, Context, Signal
from collector.errors import AckError
from collector.telemetry.ledger import Account
from collector.testing.batches import batch_of as batch_of_signal


class Listener:
    """An ack that remembers how it ended."""

    def __init__(self) -> None:
        self.ended: list[tuple[Outcome, str]] = []
        self.ack = Ack(lambda outcome, reason: self.ended.append((outcome, reason)))


def payload_of(*names: str) -> bytes:
    made = ExportTraceServiceRequest()
    scope = made.resource_spans.add().scope_spans.add()
    for name in names:
        scope.spans.add(name=name, trace_id=b"\x01" * 16, span_id=b"\x02" * 8)
    return made.SerializeToString()


def batch_of(*names: str, listener: Listener | None = None) -> Batch:
    account = Account("traces")
    account.accept(len(names))
    return Batch(payload_of(*names), listener.ack if listener else Ack.ignore(), account=account)


def names_of(batch: Batch) -> list[str]:
    request = ExportTraceServiceRequest.FromString(batch.to_bytes())
    return [span.name for resource in request.resource_spans for scope in resource.scope_spans for span in scope.spans]


def resolve(*batches: Batch) -> None:
    for batch in batches:
        batch.ack.resolve(Outcome.DELIVERED)


def test_a_batch_is_its_payload() -> None:
    batch = batch_of("a", "b")
    assert len(batch) == 2
    assert batch.to_bytes() is batch.payload
    assert batch.size == len(batch.payload)
    assert repr(batch) == f"<Batch traces items=2 bytes={batch.size}>"
    assert (batch.signal, batch.context) == (Signal.TRACES, Context())
    assert len(batch_of()) == 0
    resolve(batch)


@pytest.mark.parametrize("kind", [np.array, list, tuple])
def test_select_takes_any_sequence_of_bools(kind: type) -> None:
    batch = batch_of("a", "b", "c")
    chosen = batch.select(kind([True, False, True]), "test")
    assert names_of(chosen) == ["a", "c"]
    assert len(chosen) == 2
    assert chosen.ack is batch.ack
    assert chosen.account is not None
    assert chosen.account.filtered == {"test": 1}
    assert chosen.account.imbalance() == 0
    assert chosen.account.held == 2
    assert chosen.to_bytes() is chosen.to_bytes()
    resolve(chosen)


def test_selections_add_up() -> None:
    batch = batch_of("a", "b", "c", "d")
    chosen = batch.select([True, True, True, False], "one").select([False, True, True, True], "two")
    assert names_of(chosen) == ["b", "c"]
    assert chosen.account is not None
    assert chosen.account.filtered == {"one": 1, "two": 1}
    assert chosen.select([False, True, True, False]) is chosen
    assert batch.select([True] * 4) is batch
    nothing = chosen.select([False] * 4)
    assert (len(nothing), nothing.to_bytes()) == (0, b"")
    resolve(nothing)


@pytest.mark.parametrize("mask", [[True], [True] * 3, [], [[True, True]]])
def test_a_mask_of_another_length_is_refused(mask: list) -> None:
    for batch in (batch_of("a", "b"), batch_of("a", "b").select([True, False])):
        with pytest.raises(ValueError, match="one bool per row"):
            batch.select(mask)
        with pytest.raises(ValueError, match="one bool per row"):
            batch.split(mask)
        resolve(batch)


def test_filter_asks_for_every_selected_span() -> None:
    batch = batch_of("a", "b", "c").select([True, True, False])
    asked = []

    def keep(span: object) -> bool:
        asked.append(span.name)
        return span.name == "b"

    kept = batch.filter(keep, "not b")
    assert asked == ["a", "b"]
    assert names_of(kept) == ["b"]
    assert kept.account is not None
    assert kept.account.filtered["not b"] == 1
    resolve(kept)


def test_apply_rewrites_what_was_changed() -> None:
    listener = Listener()
    batch = batch_of("a", "b", "c", listener=listener)
    spans = batch.spans()
    assert batch.apply(spans) is batch
    spans[1].name = "new"
    spans[2].attributes["k"] = 1
    changed = batch.apply(spans)
    assert names_of(changed) == ["a", "new", "c"]
    assert changed.spans()[2].attributes == {"k": 1}
    assert names_of(batch) == ["a", "b", "c"]
    assert len(changed) == 3
    resolve(changed)
    assert listener.ended == [(Outcome.DELIVERED, "")]


def test_apply_to_a_selection_drops_the_rest() -> None:
    batch = batch_of("a", "b", "c").select([False, True, True])
    spans = batch.spans()
    assert [span.row for span in spans] == [1, 2]
    spans[0].name = "new"
    changed = batch.apply(spans)
    assert names_of(changed) == ["new", "c"]
    assert changed.mask is None
    assert (len(changed), changed.index.count) == (2, 2)
    assert changed.account is not None
    assert changed.account.held == 2
    resolve(changed)


def test_rewrite() -> None:
    batch = batch_of("a", "b")
    assert batch.rewrite({}) is batch
    assert names_of(batch.rewrite({0: Span(name="x").SerializeToString()})) == ["x", "b"]
    resolve(batch)


def test_replace_keeps_the_books() -> None:
    batch = batch_of("a", "b")
    fewer = batch.replace(payload_of("z"), reason="shrunk")
    assert fewer.account is not None
    assert fewer.account.filtered == {"shrunk": 1}
    more = fewer.replace(payload_of("x", "y", "z"))
    assert (more.account.accepted, more.account.held) == (4, 3)
    assert more.account.imbalance() == 0
    same = more.replace(payload_of("1", "2", "3"), count=3)
    assert same.account.held == 3
    assert names_of(same) == ["1", "2", "3"]
    resolve(same)


def test_split_forks_the_ack() -> None:
    listener = Listener()
    whole = batch_of("a", "b", "c", listener=listener).select([True, True, False])
    yes, no = whole.split([True, False, True])
    assert (names_of(yes), names_of(no)) == (["a"], ["b"])
    assert (len(yes), len(no)) == (1, 1)
    yes.ack.resolve(Outcome.DELIVERED)
    assert listener.ended == []
    no.ack.resolve(Outcome.RETRY, "later")
    assert listener.ended == [(Outcome.RETRY, "later")]
    with pytest.raises(AckError):
        whole.ack.resolve(Outcome.DELIVERED)


def test_fan_out_shares_the_payload() -> None:
    listener = Listener()
    batches = batch_of("a", listener=listener).fan_out(3)
    assert len({id(batch.payload) for batch in batches}) == 1
    resolve(*batches)
    assert listener.ended == [(Outcome.DELIVERED, "")]


def test_with_ack() -> None:
    listener = Listener()
    batch = batch_of("a").with_ack(listener.ack)
    resolve(batch)
    assert listener.ended == [(Outcome.DELIVERED, "")]


def test_merge_joins_bytes_and_acks() -> None:
    listeners = Listener(), Listener()
    account = Account("traces")
    one = Batch(payload_of("a", "b"), listeners[0].ack, account=account).select([False, True])
    two = Batch(payload_of("c"), listeners[1].ack, account=account)
    merged = Batch.merge([one, two])
    assert names_of(merged) == ["b", "c"]
    assert (len(merged), merged.index.count) == (2, 2)
    assert merged.account is account
    merged.ack.resolve(Outcome.REJECTED, "no")
    assert [listener.ended for listener in listeners] == [[(Outcome.REJECTED, "no")]] * 2
    alone = batch_of("a")
    assert Batch.merge([alone]) is alone
    resolve(alone)


def other_batch(signal: Signal, items: int, listener: Listener) -> Batch:
    account = Account(signal.value)
    account.accept(items)
    return batch_of_signal(signal, items, ack=listener.ack, account=account)


@pytest.mark.parametrize("signal", [Signal.METRICS, Signal.LOGS])
def test_batches_of_other_signals_do_what_those_of_traces_do(signal: Signal) -> None:
    listener = Listener()
    batch = other_batch(signal, 30, listener)
    even = np.arange(30) % 2 == 0
    half = batch.select(even, "odd")
    assert batch.account is not None
    assert batch.account.filtered == {"odd": 15}
    assert len(half) == 15
    assert half.index is batch.index
    first, second = half.split(np.arange(30) < 10)
    assert (len(first), len(second)) == (5, 10)
    views = second.views()
    views[0].attributes["k"] = "v"
    changed = second.apply(views)
    assert changed.signal is signal
    assert [view.attributes.get("k") for view in changed.views()] == ["v"] + [None] * 9
    whole = Batch.merge([first, changed])
    assert len(whole) == whole.index.count == 15
    times = np.concatenate(
        [batch.index.time[even & (np.arange(30) < 10)], batch.index.time[even & (np.arange(30) >= 10)]]
    )
    assert whole.index.time.tolist() == times.tolist()
    few = whole.filter(lambda view: view.attributes["http.route"] == "/infer")
    assert 0 < len(few) < 15
    assert {view.attributes["http.route"] for view in few.views()} == {"/infer"}
    few.ack.resolve(Outcome.DELIVERED)
    assert listener.ended == [(Outcome.DELIVERED, "")]


def test_views_are_of_the_signal_alone() -> None:
    batch = batch_of_signal(Signal.METRICS, 3)
    assert [view.kind for view in batch.points()] == [view.kind for view in batch.views()]
    with pytest.raises(ValueError, match="a batch of metrics has no views of traces"):
        batch.spans()
    with pytest.raises(ValueError, match="a batch of metrics has no views of logs"):
        batch.records()
    resolve(batch)
