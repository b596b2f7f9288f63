"""Pipelines that receivers feed, and those that logs feed: what goes in is booked and comes out."""

from graph_fakes import FakeDeadLetter, FakeLog, FakeOutlet, Hold, made, turns

from collector.ack import Ack, Outcome
from collector.batch import Batch, Signal
from collector.component.processor import Admitting, Processor
from collector.graph.direct import DirectPipeline
from collector.graph.log_pipeline import LogPipeline
from collector.telemetry.ledger import Account


class Guard(Admitting):
    def admit(self, size, inflight):
        raise AssertionError("the door asks, not the pipeline")


def direct(*processors):
    account = Account("traces")
    outlet = FakeOutlet(account)
    return DirectPipeline("traces", processors, outlet, account), outlet, account


def batch(payload, answers):
    return Batch(payload, Ack(lambda *answer: answers.append(answer)), count=2)


def test_a_batch_is_booked_and_goes_on_with_its_account():
    line, outlet, account = direct()
    line.accept(batch(b"a", answers := []))
    assert (account.accepted, account.held) == (2, 2)
    assert outlet.taken[0].account is account
    assert answers == []
    outlet.answer()
    assert answers == [(Outcome.DELIVERED, "")]
    assert account.imbalance() == 0


def test_what_is_held_comes_out_as_time_passes_or_at_the_end():
    line, outlet, _ = direct(made(Hold))
    line.accept(batch(b"a", []))
    assert outlet.payloads == []
    line.tick(1)
    assert outlet.payloads == [b"a"]
    line.accept(batch(b"b", []))
    line.drain()
    assert outlet.payloads == [b"a", b"b"]
    outlet.answer()


def test_guards_are_the_admitting_processors():
    guard = made(Guard)
    assert direct(made(Processor), guard)[0].guards == (guard,)


def test_what_a_processor_fails_on_goes_back_to_its_sender():
    class Fails(Processor):
        def process(self, batch):
            raise RuntimeError

    line, outlet, account = direct(made(Fails))
    line.accept(batch(b"a", answers := []))
    assert answers == [(Outcome.RETRY, "fails_failed")]
    assert (outlet.taken, account.held, dict(account.returned)) == ([], 0, {"fails_failed": 2})


class Lines:
    """A log pipeline, and what it made for each partition."""

    def __init__(self):
        self.account, self.outlets, self.chains, self.died = Account("traces"), [], [], []
        self.line = LogPipeline(
            "traces",
            self.processors,
            self.outlet,
            self.account,
            FakeDeadLetter(),
            signal=Signal.TRACES,
            fatal=self.died.append,
            flush_patience_s=0,
        )

    def processors(self, partition):
        self.chains.append([made(Processor)])
        return self.chains[-1]

    def outlet(self):
        self.outlets.append(FakeOutlet(self.account))
        return self.outlets[-1]


async def test_every_partition_has_a_runner_and_processors_of_its_own():
    lines, one, two = Lines(), FakeLog(b"1"), FakeLog(b"2")
    await lines.line.assigned(one)
    await lines.line.assigned(two)
    await turns()
    assert list(lines.line.runners) == [one, two]
    assert [outlet.payloads for outlet in lines.outlets] == [[b"1"], [b"2"]]
    assert lines.chains[0][0] is not lines.chains[1][0]
    for outlet in lines.outlets:
        outlet.answer()
    await lines.line.revoked(one)
    assert (one.commits, two.commits, list(lines.line.runners)) == ([1], [], [two])
    await lines.line.revoked(two)
    assert lines.line.runners == {}


async def test_revoking_what_was_never_assigned_is_no_error():
    await Lines().line.revoked(FakeLog())


async def test_a_partition_that_comes_back_starts_where_it_was_committed():
    lines, log = Lines(), FakeLog(b"1", b"2")
    await lines.line.assigned(log)
    await turns()
    lines.outlets[0].answer()
    await lines.line.revoked(log)
    log.append(b"3")
    await lines.line.assigned(log)
    await turns()
    assert lines.outlets[1].payloads == [b"3"]
    lines.outlets[1].answer()
    await lines.line.revoked(log)


async def test_a_reading_that_dies_is_told():
    class Broken(FakeLog):
        async def read(self, position, max_bytes):
            raise RuntimeError

    lines, log = Lines(), Broken(b"1")
    await lines.line.assigned(log)
    await turns()
    assert lines.died == ["partition 0: RuntimeError"]
    await lines.line.revoked(log)
