"""The export queue against a scripted exporter: every batch ends once, and as the contract says."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import Counter

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector import ack as acks
from collector.api import (
    ANONYMOUS,
    Ack,
    Batch,
    BuildContext,
    Context,
    Exporter,
    ExporterOptions,
    Meter,
    Outcome,
    RejectedExportError,
    RetryableExportError,
    StorageError,
)
from collector.export_queue import instruments
from collector.export_queue.dead_letter import DeadLetter, read
from collector.export_queue.job import SPLITS
from collector.export_queue.queue import ExportQueue

FAST_RETRY = {"initial_interval": "10ms", "max_interval": "40ms"}
NO_WAIT = {"flush_timeout": "1ms", "min_size": 1, "max_size": 1}
WHOLE = {"batch": {"flush_timeout": "1ms"}}


def request_bytes(names):
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    for name in names:
        scope.spans.add(name=name, trace_id=bytes(15) + b"\1", span_id=bytes(7) + b"\1")
    return request.SerializeToString()


def names_of(payload):
    request = ExportTraceServiceRequest.FromString(payload)
    return [span.name for resource in request.resource_spans for scope in resource.scope_spans for span in scope.spans]


class Sent:
    """Batches made for a test, and how each ended."""

    def __init__(self):
        self.ends = {}

    def batch(self, *names, context=ANONYMOUS):
        key = names[0]

        def done(outcome, reason):
            assert key not in self.ends, "resolved twice"
            self.ends[key] = (outcome, reason)

        return Batch(request_bytes(names), Ack(done), count=len(names), context=context)

    async def ended(self, n, within=5.0):
        async with asyncio.timeout(within):
            while len(self.ends) < n:
                await asyncio.sleep(0.002)


class Scripted(Exporter):
    """Answers each request with the next step of a script, or with what `answer(names)` says; the last
    step stays.
    """

    def __init__(self, config, context, script=(0,)):
        super().__init__(config, context)
        self.script = list(script)
        self.requests = []
        self.times = []
        self.in_flight = self.most_in_flight = 0
        self.started = self.stopped = 0

    async def start(self):
        self.started += 1

    async def stop(self):
        self.stopped += 1

    async def export(self, batch):
        names = names_of(batch.to_bytes())
        self.requests.append(names)
        self.times.append(time.monotonic())
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
            if callable(step):
                step = step(names)
            if asyncio.iscoroutine(step):
                step = await step
            if isinstance(step, Exception):
                raise step
            return step
        finally:
            self.in_flight -= 1


@pytest.fixture
def make(tmp_path):
    def build(script=(0,), *, durable=True, order="any", dead=None, meter=None, **options):
        options.setdefault("sending_queue", {"batch": NO_WAIT})
        options.setdefault("retry_on_failure", FAST_RETRY)
        config = ExporterOptions.model_validate(options)
        exporter = Scripted(config, BuildContext("scripted", logging.getLogger("test")), script)
        exporter.order = order
        dead = dead or DeadLetter(tmp_path / "dead", 1 << 20)
        queue = ExportQueue(exporter, dead, meter or Meter(), durable=durable, log=logging.getLogger("test.queue"))
        return queue, exporter

    before = acks.leaked()
    yield build
    assert acks.leaked() == before


@pytest.fixture
def sent():
    return Sent()


async def test_delivers_and_resolves_once(make, sent):
    queue, exporter = make()
    await queue.start()
    assert queue.offer(sent.batch("a", "b"))
    await sent.ended(1)
    assert sent.ends == {"a": (Outcome.DELIVERED, "")}
    assert (queue.bytes, queue.items, queue.oldest, queue.healthy()) == (0, 0, 0.0, None)
    await queue.stop(1)
    assert (exporter.started, exporter.stopped) == (1, 1)


async def test_merges_batches_of_one_context_only(make, sent):
    batch = {"flush_timeout": "30ms", "min_size": 100, "max_size": 100}
    queue, exporter = make(sending_queue={"batch": batch})
    await queue.start()
    for name in "abc":
        queue.offer(sent.batch(name))
    queue.offer(sent.batch("x", context=Context("other")))
    await sent.ended(4)
    assert sorted(exporter.requests) == [["a", "b", "c"], ["x"]]
    await queue.stop(1)


async def test_min_size_sends_without_waiting_and_max_size_bounds_a_request(make, sent):
    batch = {"flush_timeout": "10s", "min_size": 4, "max_size": 5}
    queue, exporter = make(sending_queue={"batch": batch, "num_consumers": 1})
    await queue.start()
    for i in range(4):
        queue.offer(sent.batch(f"{i}-1", f"{i}-2"))
    await sent.ended(4, within=1)
    assert [len(request) for request in exporter.requests] == [4, 4]
    await queue.stop(1)


async def test_max_bytes_bounds_a_request(make, sent):
    one = len(request_bytes(["a"]))
    batch = {"flush_timeout": "10s", "min_size": 100, "max_size": 100, "max_bytes": 2 * one}
    queue, exporter = make(sending_queue={"batch": batch})
    await queue.start()
    for name in "abcd":
        queue.offer(sent.batch(name))
    await sent.ended(4, within=1)
    assert sorted(exporter.requests) == [["a", "b"], ["c", "d"]]
    await queue.stop(1)


async def test_a_batch_far_over_the_limits_is_sent_in_pieces(make, sent):
    batch = {"flush_timeout": "1ms", "min_size": 2, "max_size": 2}
    queue, exporter = make(sending_queue={"batch": batch}, order="fifo")
    await queue.start()
    names = [f"s{i}" for i in range(13)]
    queue.offer(sent.batch(*names))
    await sent.ended(1)
    assert sent.ends["s0"][0] is Outcome.DELIVERED
    assert [name for request in exporter.requests for name in request] == names
    assert max(len(request) for request in exporter.requests) <= 4
    assert queue.bytes == queue.items == 0
    await queue.stop(1)


async def test_a_selection_is_sent_and_kept_without_the_rest(make, sent):
    queue, exporter = make()
    batch = sent.batch("a", *(f"x{i}" for i in range(50)))
    whole = batch.size
    queue.offer(batch.filter(lambda span: span.name == "a"))
    assert 0 < queue.bytes < whole / 10
    await queue.start()
    await sent.ended(1)
    assert exporter.requests == [["a"]]
    await queue.stop(1)


async def test_the_bound_is_in_bytes_and_an_empty_queue_takes_any_batch(make, sent):
    size = len(request_bytes(["a"]))
    release = asyncio.Event()

    async def hold():
        await release.wait()
        return 0

    queue, _ = make([lambda _: hold()], sending_queue={"queue_size": size - 1, "batch": NO_WAIT})
    await queue.start()
    assert queue.has_room(10**9)
    assert queue.offer(sent.batch("a"))
    refused = sent.batch("b")
    assert not queue.has_room(1)
    assert not queue.offer(refused)
    assert not refused.ack.resolved
    assert queue.bytes == size
    waiter = asyncio.create_task(queue.room(size))
    await asyncio.sleep(0.02)
    assert not waiter.done()
    release.set()
    await asyncio.wait_for(waiter, 1)
    assert queue.offer(refused)
    await sent.ended(2)
    await queue.stop(1)


async def test_num_consumers_bounds_what_is_in_flight_and_fifo_means_one(make, sent):
    async def slow():
        await asyncio.sleep(0.01)
        return 0

    for order, most in (("any", 3), ("fifo", 1)):
        ends = Sent()
        queue, exporter = make([lambda _: slow()], order=order, sending_queue={"num_consumers": 3, "batch": NO_WAIT})
        await queue.start()
        for i in range(9):
            queue.offer(ends.batch(f"b{i}"))
        await ends.ended(9)
        assert exporter.most_in_flight == most
        if order == "fifo":
            assert exporter.requests == [[f"b{i}"] for i in range(9)]
        await queue.stop(1)


async def test_fifo_holds_across_a_retry(make, sent):
    queue, exporter = make([RetryableExportError("away"), 0], order="fifo")
    await queue.start()
    for i in range(4):
        queue.offer(sent.batch(f"b{i}"))
    await sent.ended(4)
    assert exporter.requests == [["b0"], ["b0"], ["b1"], ["b2"], ["b3"]]
    await queue.stop(1)


@pytest.mark.parametrize(
    "failure", [RetryableExportError("away"), RuntimeError("bug"), ConnectionResetError(104, "reset")]
)
async def test_whatever_may_pass_is_retried_until_it_does(make, sent, failure):
    queue, exporter = make([failure] * 4 + [0])
    await queue.start()
    queue.offer(sent.batch("a"))
    await sent.ended(1)
    assert len(exporter.requests) == 5
    assert sent.ends["a"][0] is Outcome.DELIVERED
    await queue.stop(1)


async def test_an_attempt_is_bounded_by_the_timeout(make, sent):
    async def hang():
        await asyncio.sleep(60)

    meter = Meter()
    queue, exporter = make([lambda _: hang(), 0], timeout="50ms", meter=meter)
    await queue.start()
    began = time.monotonic()
    queue.offer(sent.batch("a"))
    await sent.ended(1)
    assert 0.05 <= time.monotonic() - began < 0.5
    assert exporter.in_flight == 0
    assert attempts(meter) == {"timeout": 1, "delivered": 1}
    await queue.stop(1)


async def test_the_backends_own_pause_is_kept_by_every_consumer(make, sent):
    wish = RetryableExportError("throttled", retry_after_ns=150_000_000)
    queue, exporter = make([wish, 0], sending_queue={"num_consumers": 4, "batch": NO_WAIT})
    await queue.start()
    queue.offer(sent.batch("a"))
    while queue.healthy() is None:
        await asyncio.sleep(0)  # no timer: a loop that is late would wake up when the pause is over
    for i in range(4):
        queue.offer(sent.batch(f"b{i}"))
    assert "throttled, next attempt in" in queue.healthy()
    assert 0 < queue.retry_wait <= 0.15
    await sent.ended(5)
    assert exporter.times[1] - exporter.times[0] >= 0.15
    assert len(exporter.requests) == 6
    assert queue.healthy() is None
    await queue.stop(1)


async def test_an_absent_backend_sees_one_probe_at_a_time(make, sent):
    away = True

    async def answer():
        await asyncio.sleep(0.005)
        if away:
            raise RetryableExportError("away")
        return 0

    queue, exporter = make([lambda _: answer()], sending_queue={"num_consumers": 8, "batch": NO_WAIT})
    await queue.start()
    for i in range(20):
        queue.offer(sent.batch(f"b{i}"))
    await asyncio.sleep(0.02)
    exporter.most_in_flight, first = 0, len(exporter.requests)
    assert first <= 8
    await asyncio.sleep(0.4)
    assert exporter.most_in_flight == 1
    assert len(exporter.requests) - first < 0.4 / 0.02 + 2
    away = False
    await sent.ended(20)
    assert set(sent.ends.values()) == {(Outcome.DELIVERED, "")}
    await queue.stop(1)


async def test_one_batch_that_always_fails_does_not_hold_up_the_others(make, sent):
    def answer(names):
        return RetryableExportError("not this one") if "bad" in names else 0

    queue, _exporter = make([answer], sending_queue={"num_consumers": 2, "batch": NO_WAIT})
    await queue.start()
    queue.offer(sent.batch("bad"))
    for i in range(50):
        queue.offer(sent.batch(f"b{i}"))
    await sent.ended(50, within=2)
    assert "bad" not in sent.ends
    await queue.stop(1)
    assert sent.ends["bad"] == (Outcome.RETRY, "shutdown")


@pytest.mark.parametrize(
    ("retry", "reason", "attempts_made"),
    [({"enabled": False}, "retry_disabled", 1), ({**FAST_RETRY, "max_elapsed_time": "60ms"}, "max_elapsed_time", None)],
)
async def test_giving_up_is_dead_lettered_with_its_reason(make, sent, tmp_path, retry, reason, attempts_made):
    queue, exporter = make([RetryableExportError("backend away")], retry_on_failure=retry)
    await queue.start()
    queue.offer(sent.batch("a", "b"))
    await sent.ended(1)
    assert sent.ends["a"] == (Outcome.REJECTED, reason)
    (dead,) = read(tmp_path / "dead")
    assert (dead.exporter, dead.reason, dead.items) == ("scripted", f"{reason}: backend away", 2)
    assert names_of(dead.payload) == ["a", "b"]
    if attempts_made:
        assert len(exporter.requests) == attempts_made
    else:
        assert exporter.times[-1] - exporter.times[0] >= 0.06
    await queue.stop(1)


@pytest.mark.parametrize("poison", [0, 1, 499, 500, 777, 999])
async def test_one_poison_item_in_a_thousand_is_found(make, sent, tmp_path, poison):
    bad = f"s{poison}"

    def answer(names):
        return RejectedExportError("invalid") if bad in names else 0

    queue, exporter = make([answer], sending_queue=WHOLE)
    await queue.start()
    queue.offer(sent.batch(*(f"s{i}" for i in range(1000))))
    await sent.ended(1)
    delivered = Counter(name for names in exporter.requests if bad not in names for name in names)
    assert delivered == Counter({f"s{i}": 1 for i in range(1000) if i != poison})
    assert len(exporter.requests) - 1 <= 2 * math.log2(1000)
    (dead,) = read(tmp_path / "dead")
    assert (names_of(dead.payload), dead.items, dead.reason) == ([bad], 1, "rejected: invalid")
    assert sent.ends["s0"] == (Outcome.REJECTED, "rejected")
    assert queue.bytes == queue.items == 0
    await queue.stop(1)


async def test_only_the_merged_batch_with_the_poison_is_rejected(make, sent, tmp_path):
    batch = {"flush_timeout": "20ms", "min_size": 1000, "max_size": 1000}
    queue, _ = make([lambda names: RejectedExportError("no") if "7-1" in names else 0], sending_queue={"batch": batch})
    await queue.start()
    for i in range(10):
        queue.offer(sent.batch(f"{i}-0", f"{i}-1", f"{i}-2"))
    await sent.ended(10)
    rejected = [key for key, (outcome, _) in sent.ends.items() if outcome is Outcome.REJECTED]
    assert rejected == ["7-0"]
    assert [names_of(dead.payload) for dead in read(tmp_path / "dead")] == [["7-1"]]
    await queue.stop(1)


async def test_divisions_are_bounded_and_nothing_is_lost_when_they_run_out(make, sent, tmp_path):
    names = [f"s{i}" for i in range(512)]
    queue, exporter = make([lambda _: RejectedExportError("always")], sending_queue=WHOLE)
    await queue.start()
    queue.offer(sent.batch(*names))
    await sent.ended(1)
    assert len(exporter.requests) == 1 + 2 * SPLITS
    buried = [name for dead in read(tmp_path / "dead") for name in names_of(dead.payload)]
    assert sorted(buried) == sorted(names)
    await queue.stop(1)


async def test_a_refusal_of_the_sender_is_not_divided(make, sent, tmp_path):
    queue, exporter = make([RejectedExportError("wrong tenant", divisible=False)], sending_queue=WHOLE)
    await queue.start()
    queue.offer(sent.batch("a", "b", "c"))
    await sent.ended(1)
    assert len(exporter.requests) == 1
    (dead,) = read(tmp_path / "dead")
    assert names_of(dead.payload) == ["a", "b", "c"]
    await queue.stop(1)


@pytest.mark.parametrize("size", [{"max_size": 100}, {"min_size": 1, "max_size": 1}], ids=["refused", "too large"])
async def test_what_is_no_otlp_is_refused_at_once_and_whole(make, sent, tmp_path, monkeypatch, size):
    """A processor of somebody's own may have made it."""
    attempts = []

    async def refuse(_, batch):
        attempts.append(len(batch))
        raise RejectedExportError("bad")

    monkeypatch.setattr(Scripted, "export", refuse)
    queue, _ = make(sending_queue={"batch": {"flush_timeout": "1ms"} | size})
    await queue.start()
    batch = sent.batch("a", "b", "c")
    assert queue.offer(Batch(b"\xff" + batch.payload, batch.ack, count=3))
    await sent.ended(1)
    assert sent.ends == {"a": (Outcome.REJECTED, "rejected")}
    assert attempts == [3]
    assert [each.items for each in read(tmp_path / "dead")] == [3]
    await queue.stop(1)


@pytest.mark.parametrize("place", range(3))
async def test_what_is_no_otlp_takes_nothing_else_with_it(make, sent, tmp_path, monkeypatch, place):
    async def refuse(_, batch):
        if b"\xff" in batch.payload:
            raise RejectedExportError("bad")
        return 0

    monkeypatch.setattr(Scripted, "export", refuse)
    queue, _ = make(sending_queue={"batch": {"flush_timeout": "10ms"}})
    await queue.start()
    batches = [sent.batch(name, "x", "y") for name in "abc"]
    bad = batches[place]
    batches[place] = Batch(b"\xff" + bad.payload, bad.ack, count=3)
    assert all(map(queue.offer, batches))
    await sent.ended(3)
    assert {name for name, end in sent.ends.items() if end[0] is not Outcome.DELIVERED} == {"abc"[place]}
    assert [each.items for each in read(tmp_path / "dead")] == [3]
    await queue.stop(1)


async def test_a_retry_in_the_middle_of_a_search_loses_nothing(make, sent, tmp_path):
    calls = Counter()

    def answer(names):
        calls["n"] += 1
        if calls["n"] % 3 == 0:
            return RetryableExportError("hiccup")
        return RejectedExportError("invalid") if "s33" in names else 0

    queue, exporter = make([answer], sending_queue=WHOLE)
    await queue.start()
    queue.offer(sent.batch(*(f"s{i}" for i in range(100))))
    await sent.ended(1)
    (dead,) = read(tmp_path / "dead")
    assert names_of(dead.payload) == ["s33"]
    seen = {name for names in exporter.requests for name in names}
    assert len(seen) == 100
    await queue.stop(1)


async def test_partial_success_is_counted_kept_and_never_retried(make, sent, tmp_path):
    meter = Meter()
    queue, exporter = make([2], meter=meter, sending_queue=WHOLE)
    await queue.start()
    queue.offer(sent.batch("a", "b", "c"))
    await sent.ended(1)
    assert sent.ends["a"] == (Outcome.DELIVERED, "")
    assert len(exporter.requests) == 1
    (dead,) = read(tmp_path / "dead")
    assert (dead.reason, dead.rejected, dead.items) == ("partial_success", 2, 3)
    assert items(meter) == {"delivered": 1, "rejected": 2}
    await queue.stop(1)


class Broken:
    """A dead letter whose disk is full until it is mended."""

    def __init__(self, directory):
        self.inner = DeadLetter(directory, 1 << 20)
        self.full = True
        self.tries = 0

    async def write(self, *arguments):
        self.tries += 1
        if self.full:
            raise StorageError("the dead letter is full")
        await self.inner.write(*arguments)


async def test_a_full_dead_letter_keeps_the_batch_and_lets_others_pass(make, sent, tmp_path):
    dead = Broken(tmp_path / "dead")
    queue, _ = make([lambda names: RejectedExportError("no") if "bad" in names else 0], dead=dead)
    await queue.start()
    queue.offer(sent.batch("bad"))
    await asyncio.sleep(0.06)
    assert dead.tries >= 2
    assert "the dead letter is full" in queue.healthy()
    queue.offer(sent.batch("good"))
    await sent.ended(1)
    assert sent.ends == {"good": (Outcome.DELIVERED, "")}
    assert queue.items == 1
    assert queue.oldest > 0.05
    dead.full = False
    await sent.ended(2)
    assert sent.ends["bad"] == (Outcome.REJECTED, "rejected")
    assert len(list(read(tmp_path / "dead"))) == 1
    await queue.stop(1)


async def test_stop_gives_what_is_left_back_to_a_durable_source(make, sent, tmp_path):
    async def hang():
        await asyncio.sleep(60)

    queue, exporter = make([lambda _: hang()], timeout="30s", sending_queue={"num_consumers": 2, "batch": NO_WAIT})
    await queue.start()
    for i in range(5):
        queue.offer(sent.batch(f"b{i}"))
    waiter = asyncio.create_task(queue.room(1 << 40))
    await asyncio.sleep(0.02)
    began = time.monotonic()
    await queue.stop(0.1)
    assert time.monotonic() - began < 0.5
    assert sent.ends == {f"b{i}": (Outcome.RETRY, "shutdown") for i in range(5)}
    assert exporter.stopped == 1
    late = sent.batch("late")
    assert not queue.offer(late)
    late.ack.resolve(Outcome.RETRY)
    await asyncio.wait_for(waiter, 1)
    assert not list(read(tmp_path / "dead"))


async def test_stop_lets_a_durable_sources_attempts_finish(make, sent):
    async def slow():
        await asyncio.sleep(0.05)
        return 0

    queue, _ = make([lambda _: slow()], sending_queue={"num_consumers": 2, "batch": NO_WAIT})
    await queue.start()
    for i in range(5):
        queue.offer(sent.batch(f"b{i}"))
    await asyncio.sleep(0.01)
    await queue.stop(2)
    outcomes = Counter(outcome for outcome, _ in sent.ends.values())
    assert outcomes == {Outcome.DELIVERED: 2, Outcome.RETRY: 3}


async def test_stop_delivers_what_no_log_keeps(make, sent):
    queue, _exporter = make(
        [RetryableExportError("away"), 0],
        durable=False,
        sending_queue={"batch": {"flush_timeout": "1h", "min_size": 10, "max_size": 10}},
    )
    await queue.start()
    for i in range(25):
        queue.offer(sent.batch(f"b{i}"))
    await queue.stop(3)
    assert set(sent.ends.values()) == {(Outcome.DELIVERED, "")}
    assert len(sent.ends) == 25


async def test_stop_dead_letters_the_rest_where_no_log_keeps_it(make, sent, tmp_path):
    async def answer(names):
        if "hang" in names:
            await asyncio.sleep(60)
        raise RetryableExportError("away")

    queue, _ = make([answer], durable=False, timeout="30s")
    await queue.start()
    for name in ("hang", "b", "c"):
        queue.offer(sent.batch(name))
    await asyncio.sleep(0.02)
    began = time.monotonic()
    await queue.stop(0.4)
    assert time.monotonic() - began < 1
    assert set(sent.ends.values()) == {(Outcome.REJECTED, "shutdown")}
    dead = list(read(tmp_path / "dead"))
    assert sorted(names_of(each.payload)[0] for each in dead) == ["b", "c", "hang"]
    assert {each.reason.partition(":")[0] for each in dead} == {"shutdown"}


async def test_stop_with_a_full_dead_letter_says_that_the_sender_must_send_again(make, sent, tmp_path, caplog):
    queue, _ = make([RetryableExportError("away")], durable=False, dead=Broken(tmp_path / "dead"))
    await queue.start()
    queue.offer(sent.batch("a", "b"))
    await queue.stop(0.1)
    assert sent.ends["a"] == (Outcome.RETRY, "shutdown")
    assert "2 items could neither be delivered nor written" in caplog.text


async def test_stop_without_start_settles_what_was_offered(make, sent):
    queue, _ = make()
    queue.offer(sent.batch("a"))
    await queue.stop(1)
    assert sent.ends["a"] == (Outcome.RETRY, "shutdown")


async def test_the_log_speaks_once_about_an_outage(make, sent, caplog):
    caplog.set_level(logging.INFO)
    queue, _ = make([RetryableExportError("away")] * 10 + [0])
    await queue.start()
    queue.offer(sent.batch("a"))
    await sent.ended(1)
    said = [record.getMessage() for record in caplog.records if record.name == "test.queue"]
    assert said == ["not delivering: away", "delivering again"]
    await queue.stop(1)


async def test_the_log_says_once_a_minute_what_went_to_the_dead_letter(make, sent, caplog, monkeypatch):
    queue, _ = make([lambda names: 2 if len(names) > 1 else RejectedExportError("too old")])
    await queue.start()
    queue.offer(sent.batch("a"))
    await sent.ended(1)
    queue.offer(sent.batch("b"))
    queue.offer(sent.batch("c", "d", "e"))  # one alone, and two that are only counted
    await sent.ended(3)
    monkeypatch.setattr(instruments, "_SAY_AGAIN_S", 0)
    queue.offer(sent.batch("f"))
    await sent.ended(4)
    said = [record.getMessage() for record in caplog.records if record.name == "test.queue"]
    assert said == [f"{items} item(s) went to the dead letter: rejected: too old" for items in (1, 5)]
    await queue.stop(1)


async def test_a_bug_in_an_exporter_is_not_quoted_in_the_log(make, sent, caplog):
    caplog.set_level(logging.INFO)
    queue, _ = make([ValueError("secret payload"), 0])
    await queue.start()
    queue.offer(sent.batch("a"))
    await sent.ended(1)
    assert "the exporter failed" in caplog.text
    assert "secret" not in caplog.text
    assert "ValueError" not in caplog.text
    await queue.stop(1)


async def test_an_ack_that_raises_does_not_have_its_batch_sent_again(make):
    def broken(outcome, reason):
        raise RuntimeError("an on_done that breaks its contract")

    queue, exporter = make()
    await queue.start()
    queue.offer(Batch(request_bytes(["a"]), Ack(broken), count=1))
    await asyncio.sleep(0.1)
    assert exporter.requests == [["a"]]
    assert queue.bytes == queue.items == 0
    await queue.stop(1)


async def test_random_faults_end_every_batch_exactly_once(make, tmp_path):
    import random

    rng = random.Random(7)
    sent = Sent()

    def answer(names):
        roll = rng.random()
        if any(name.endswith("p") for name in names):
            return RejectedExportError("poison")
        if roll < 0.2:
            return RetryableExportError("away", retry_after_ns=rng.choice([None, 0, 2_000_000]))
        if roll < 0.25:
            return OSError(5, "broken")
        return 0

    queue, _exporter = make(
        [answer],
        sending_queue={"queue_size": 4000, "batch": {"flush_timeout": "2ms", "min_size": 20, "max_size": 40}},
        retry_on_failure={"initial_interval": "1ms", "max_interval": "2ms"},
    )
    await queue.start()
    poison = 0
    for i in range(300):
        names = [f"{i}-{k}{'p' if rng.random() < 0.005 else ''}" for k in range(rng.randint(1, 12))]
        poison += sum(name.endswith("p") for name in names)
        batch = sent.batch(*names)
        while not queue.offer(batch):
            assert queue.bytes <= 4000
            await queue.room(batch.size)
    await sent.ended(300, within=20)
    assert queue.bytes == queue.items == 0
    assert poison > 3
    buried = [name for dead in read(tmp_path / "dead") for name in names_of(dead.payload)]
    assert len(buried) == poison
    assert all(name.endswith("p") for name in buried)
    await queue.stop(1)


def attempts(meter):
    return counted(meter, "butterfly_export_attempts")


def items(meter):
    return counted(meter, "butterfly_export_items")


def counted(meter, family):
    return {
        sample.labels["outcome"]: int(sample.value)
        for metric in meter.registry.collect()
        if metric.name == family
        for sample in metric.samples
        if sample.name.endswith("_total") and sample.value
    }
