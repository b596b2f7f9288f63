"""The ledger against what the backends saw: several exporters, random refusals, divisions, failures and stops."""

from __future__ import annotations

import asyncio
import logging
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector import ack as acks
from collector.ack import Ack
from collector.api import (
    BuildContext,
    Exporter,
    ExporterOptions,
    Meter,
    Refusal,
    RejectedExportError,
    RetryableExportError,
    StagedExporter,
    StorageError,
)
from collector.batch import Batch, Context
from collector.export_queue.queue import ExportQueue
from collector.graph.outlet import Outlet
from collector.graph.watermark import Watermark
from collector.telemetry.ledger import Account

LOG = logging.getLogger("test")


def payload_of(names):
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    for name in names:
        scope.spans.add(name=name, trace_id=bytes(15) + b"\1", span_id=bytes(7) + b"\1")
    return request.SerializeToString()


def names_of(payload):
    request = ExportTraceServiceRequest.FromString(payload)
    return [span.name for resource in request.resource_spans for scope in resource.scope_spans for span in scope.spans]


class Backend:
    """What one backend has, and what it refused; `bad` is what it refuses, `away` how often it fails."""

    def __init__(self, rng, names, *, bad, away):
        self.rng = rng
        self.bad = {name for name in names if rng.random() < bad}
        self.away = away
        self.has = set()
        self.refused = set()

    async def asked(self):
        await asyncio.sleep(0)
        if self.rng.random() < self.away:
            raise RetryableExportError("away")

    def take(self, names):
        assert not self.has & set(names), "delivered twice"
        self.has |= set(names)


class Dividing(Exporter):
    """Refuses a request with anything bad in it."""

    async def export(self, batch):
        names = names_of(batch.to_bytes())
        await self.backend.asked()
        if self.backend.bad & set(names):
            raise RejectedExportError("bad")
        self.backend.take(names)
        return 0


class Counting(Exporter):
    """Takes what is good, and says how many it didn't take."""

    async def export(self, batch):
        names = names_of(batch.to_bytes())
        await self.backend.asked()
        bad = self.backend.bad & set(names)
        self.backend.take(set(names) - bad)
        self.backend.refused |= bad
        return len(bad)


class Translating(StagedExporter):
    """Takes what is good, and says which it didn't take."""

    def stage(self, batch):
        return names_of(batch.payload)

    async def send(self, staged):
        await self.backend.asked()
        bad = self.backend.bad & set(staged)
        self.backend.take(set(staged) - bad)
        for reason in ("odd", "even"):
            rows = np.array([name in bad and (int(name) % 2 == 0) == (reason == "even") for name in staged])
            if rows.any():
                yielded = Refusal(rows, reason)
                self.refusals.append(yielded)
        refusals, self.refusals = self.refusals, []
        return refusals


class Letters:
    """The dead letter: names by exporter. It is full once in a while, or for ever."""

    def __init__(self, rng, full):
        self.rng, self.full, self.names = rng, full, {}

    async def write(self, batch, exporter_id, reason, rejected=None):
        await asyncio.sleep(0)
        if self.rng.random() < self.full:
            raise StorageError("the dead letter is full")
        if rejected is None:
            self.names.setdefault(exporter_id, set()).update(names_of(batch.to_bytes()))


class Run:
    """A pipeline of `kinds` exporters, fed from a log or by receivers."""

    def __init__(self, rng, kinds, *, from_log, bad=0.02, away=0.1, full=0.1):
        self.rng, self.from_log = rng, from_log
        self.total = rng.randint(1, 400)
        self.names = [str(number) for number in range(self.total)]
        self.letters = Letters(rng, full)
        self.account = Account("traces")
        self.watermark = Watermark(0)
        self.records = []
        self.backends, self.queues = [], []
        for number, kind in enumerate(kinds):
            size = rng.choice([1, 10, 50, 1000])
            options = {
                "sending_queue": {"batch": {"flush_timeout": "1ms", "min_size": size, "max_size": size}},
                "retry_on_failure": {"initial_interval": "1ms", "max_interval": "1ms"},
            }
            exporter = kind(ExporterOptions.model_validate(options), BuildContext(f"to/{number}", LOG))
            exporter.backend = Backend(rng, self.names, bad=rng.choice([0, bad, 10 * bad]), away=away)
            exporter.refusals = []
            self.backends.append(exporter.backend)
            self.queues.append(ExportQueue(exporter, self.letters, Meter(), durable=from_log, log=LOG))
        self.outlet = Outlet(self.account, self.queues, from_log=from_log)

    def feed(self):
        names = list(self.names)
        while names:
            own, names = names[: (n := self.rng.randint(1, 60))], names[n:]
            dropped = [name for name in own if self.rng.random() < 0.1]
            self.account.accept(len(own))
            ack = self.watermark.begin(len(self.records)) if self.from_log else Ack(lambda _outcome, _reason: None)
            context = Context(self.rng.choice("ab"))
            batch = Batch(payload_of(own), ack, count=len(own), context=context, account=self.account)
            batch = batch.filter(lambda span, dropped=dropped: span.name not in dropped)
            kept = [name for name in own if name not in dropped]
            self.records.append(kept)
            if kept:
                self.outlet.emit(batch)
            else:
                batch.ack.resolve(acks.Outcome.FILTERED)
        self.sent = {name for kept in self.records for name in kept}

    def check(self):
        """At every moment: nothing is called delivered or dead that isn't."""
        assert self.account.imbalance() == 0
        assert self.account.delivered <= len(set.intersection(*(backend.has for backend in self.backends)))
        assert self.account.dead_lettered.total() <= len(set().union(*self.letters.names.values()))

    async def started(self):
        for queue in self.queues:
            await queue.start()

    async def settled(self, *, exact=True):
        async with asyncio.timeout(20):
            while self.account.held:
                if exact:
                    self.check()
                await asyncio.sleep(0)

    async def stop(self):
        self.outlet.stop()
        for queue in self.queues:
            await queue.stop(0.05)


seeds = st.integers(0, 2**32)
exact_kinds = st.lists(st.sampled_from([Dividing, Translating]), min_size=1, max_size=3)


@pytest.fixture(autouse=True)
def no_leaks():
    before = acks.leaked()
    yield
    assert acks.leaked() == before


@settings(max_examples=40, deadline=None)
@given(seed=seeds, kinds=exact_kinds, from_log=st.booleans())
def test_an_item_is_delivered_when_every_backend_has_it_and_dead_when_one_refused_it(seed, kinds, from_log):
    async def run():
        it = Run(random.Random(seed), kinds, from_log=from_log)
        await it.started()
        it.feed()
        await it.settled()
        everywhere = set.intersection(*(backend.has for backend in it.backends))
        dead = set().union(*it.letters.names.values())
        assert dead == it.sent - everywhere
        assert (it.account.delivered, it.account.dead_lettered.total()) == (len(everywhere), len(dead))
        assert it.account.filtered.total() == it.total - len(it.sent)
        assert it.watermark.position == (len(it.records) if from_log else 0)
        await it.stop()

    asyncio.run(run())


@settings(max_examples=25, deadline=None)
@given(seed=seeds, others=st.lists(st.sampled_from([Dividing, Translating, Counting]), max_size=2))
def test_a_backend_that_only_counts_is_believed_and_the_books_never_call_too_much_delivered(seed, others):
    async def run():
        it = Run(random.Random(seed), [Counting, *others], from_log=True)
        await it.started()
        it.feed()
        await it.settled(exact=False)
        refused = [len(it.sent - backend.has) for backend in it.backends]
        assert max(refused) <= it.account.dead_lettered.total() <= sum(refused)
        assert it.account.delivered == len(it.sent) - it.account.dead_lettered.total()
        assert it.account.imbalance() == 0
        await it.stop()

    asyncio.run(run())


@settings(max_examples=40, deadline=None)
@given(seed=seeds, kinds=exact_kinds, turns=st.integers(0, 60))
def test_a_stop_in_the_middle_settles_only_what_every_backend_or_the_dead_letter_has(seed, kinds, turns):
    """A part in the dead letter doesn't speak for the part that was given back: the log must keep the whole."""

    async def run():
        it = Run(random.Random(seed), kinds, from_log=True)
        await it.started()
        it.feed()
        for _ in range(turns):
            await asyncio.sleep(0.0002)
        await it.stop()
        settled = {name for kept in it.records[: it.watermark.position] for name in kept}
        for number, backend in enumerate(it.backends):
            assert settled <= backend.has | it.letters.names.get(f"to/{number}", set())
        it.check()
        assert it.account.held == 0

    asyncio.run(run())


@settings(max_examples=25, deadline=None)
@given(seed=seeds, kinds=exact_kinds, full=st.sampled_from([0, 1]), turns=st.integers(0, 30))
def test_a_stop_without_a_log_dead_letters_the_rest_or_calls_it_lost(seed, kinds, full, turns):
    async def run():
        it = Run(random.Random(seed), kinds, from_log=False, full=full, away=0.5)
        await it.started()
        it.feed()
        for _ in range(turns):
            await asyncio.sleep(0.0002)
        await it.stop()
        everywhere = set.intersection(*(backend.has for backend in it.backends))
        dead = set().union(*it.letters.names.values())
        assert it.account.delivered == len(everywhere)
        assert it.account.dead_lettered.total() == (len(it.sent - everywhere) if not full else 0)
        assert it.account.lost.total() == (len(it.sent - everywhere) if full else 0)
        assert it.account.dead_lettered.total() == len(dead)
        assert (it.account.held, it.account.imbalance(), it.account.returned.total()) == (0, 0, 0)

    asyncio.run(run())
