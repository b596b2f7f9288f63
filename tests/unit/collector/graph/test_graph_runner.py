"""One partition from start to stop: both positions, time, pressure, lag, commits, and the word when it dies."""

import asyncio

import pytest
from graph_fakes import FakeDeadLetter, FakeLog, FakeLookahead, FakeOutlet, Hold, made, turns

from collector.component.connector import Partition
from collector.component.processor import Processor
from collector.errors import OwnershipLostError
from collector.graph import merging as merging_module
from collector.graph import runner as runner_module
from collector.graph.runner import PartitionRunner
from collector.telemetry.ledger import Account


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(merging_module, "MERGE_BYTES", 1)
    monkeypatch.setattr(Partition, "pace_s", 0)


class Ahead(FakeLookahead):
    def process(self, batch):
        return (batch,)


class Run:
    def __init__(self, log, *processors, account=None, **options):
        self.log, self.account, self.died = log, account or Account("traces"), []
        self.outlet = FakeOutlet(self.account)
        self.runner = PartitionRunner(
            log, processors, self.outlet, self.account, FakeDeadLetter(), fatal=self.died.append, **options
        )


async def test_without_a_lookahead_processor_the_tail_follows_the_end_of_the_log():
    run = Run(FakeLog(b"0"))
    await run.runner.start()
    await turns()
    run.log.append(b"1")
    await turns()
    assert run.runner.head is None
    assert run.outlet.payloads == [b"0", b"1"]
    run.outlet.answer()
    await run.runner.stop(1)
    assert run.log.commits == [2]
    assert (run.account.accepted, run.account.delivered, run.account.held) == (4, 4, 0)


async def test_with_one_the_tail_waits_for_the_head():
    ahead = made(Ahead)
    run = Run(FakeLog(b"0", b"1"), ahead)
    await run.runner.start()
    await turns()
    assert (run.runner.head.position, run.runner.tail.position) == (2, 0)
    ahead.decide(1)
    await run.runner.tick()
    await turns()
    assert run.outlet.payloads == [b"0"]
    assert ahead.settled_at == [1]
    run.outlet.answer()
    await run.runner.stop(1)
    assert run.log.commits == [1]
    # The undecided record stays in the log: the books say so, and no verdict was made up.
    assert dict(run.account.returned) == {"left_in_log": 2}
    assert (run.account.accepted, run.account.held, run.account.imbalance()) == (4, 0, 0)
    assert len(run.log.blobs) == 1


async def test_what_stands_before_a_lookahead_processor_runs_on_both_readings():
    class Upper(Processor):
        pure = True

        def process(self, batch):
            return (batch.replace(batch.payload.upper(), count=len(batch)),)

    ahead = made(Ahead)
    run = Run(FakeLog(b"a"), made(Upper), ahead)
    await run.runner.start()
    await turns()
    ahead.decide(1)
    await run.runner.tick()
    await turns()
    assert [payload for payload, *_ in ahead.calls] == [b"A"]
    assert run.outlet.payloads == [b"A"]
    run.outlet.answer()
    await run.runner.stop(1)


async def test_verdicts_of_an_earlier_life_are_there_before_anything_is_read():
    ahead = made(Ahead)
    log = FakeLog(b"0")
    log.blobs = [(b"verdicts", 1, 0)]
    run = Run(log, ahead)
    await run.runner.start()
    assert (ahead.restored, log.reads) == ([b"verdicts"], [])
    await run.runner.stop(0)


async def test_a_final_log_is_decided_and_sent_at_the_stop():
    ahead, hold = made(Ahead), made(Hold)
    account = Account("traces")
    account.accept(6)
    run = Run(FakeLog(b"0", b"1", b"2", per_read=1), ahead, hold, account=account, books_accepted=False, final=True)
    await run.runner.start()
    stopping = asyncio.create_task(run.runner.stop(1))
    await turns(60)
    assert run.outlet.payloads == [b"0", b"1", b"2"]
    assert not stopping.done()  # what was sent must be answered first
    run.outlet.answer()
    await stopping
    assert [blob for blob, _, _ in run.log.blobs] == [b"[0, 1, 2]"]
    assert run.log.commits == [3]
    assert run.outlet.stopped
    assert (account.accepted, account.delivered, account.held, account.imbalance()) == (6, 6, 0, 0)


def settle_for(patience):
    async def settle(patience_s):
        patience.append(patience_s)

    return settle


async def test_a_final_stop_does_not_wait_for_room_for_ever(caplog):
    ahead = made(Ahead)
    account = Account("traces")
    account.accept(2)
    run = Run(FakeLog(b"0"), ahead, account=account, books_accepted=False, final=True)
    await run.runner.start()
    run.outlet.open.clear()
    patience = []
    run.runner.tail.settle = settle_for(patience)
    await asyncio.wait_for(run.runner.stop(0.01), 1)
    assert patience[0] < 0.005  # what sending took is not to be had again
    assert "the rest goes to the dead letter" in caplog.text
    assert dict(account.dead_lettered) == {"shutdown": 2}
    assert (account.held, account.imbalance()) == (0, 0)
    assert run.log.commits == [1]


async def test_without_final_nothing_is_decided_or_sent():
    ahead, hold = made(Ahead), made(Hold)
    run = Run(FakeLog(b"0", b"1"), ahead, hold)
    await run.runner.start()
    await turns()
    ahead.decide(1)
    await run.runner.head.tick()
    await turns()
    stopping = asyncio.create_task(run.runner.stop(0))
    await stopping
    assert run.outlet.taken == []
    assert ahead.open == [1]
    assert run.runner.tail.watermark.position == 0
    assert hold.held == []  # what it held stays in the log
    assert dict(run.account.returned) == {"stopped": 2, "left_in_log": 2}
    assert (run.account.held, run.account.imbalance()) == (0, 0)


async def test_ticks_tell_the_other_processors_the_partitions_time():
    told = []

    class Clock(Processor):
        def tick(self, now_ns):
            told.append(now_ns)
            return ()

    run = Run(FakeLog(), made(Clock))
    run.log.now = 42
    await run.runner.tick()
    assert told == [42]


# -- pressure


async def under_pressure(*, waits_for_decisions, pressed=True, room=True):
    ahead = made(Ahead)
    run = Run(FakeLog(*[b"%d" % number for number in range(10)]), ahead)
    await run.runner.head.advance()
    if not waits_for_decisions:
        ahead.decide(1)
        await run.runner.head.publish()
    run.log.pressed, ahead.room = pressed, room
    await run.runner.tick()
    await run.runner.stop(0)
    return ahead


@pytest.mark.parametrize("why", [{"pressed": True}, {"pressed": False, "room": False}])
async def test_without_room_the_oldest_quarter_is_decided_early(why):
    ahead = await under_pressure(waits_for_decisions=True, **why)
    assert ahead.shed_before == [10 // 4 + 1]
    assert ahead.open[0] == 3


async def test_nothing_is_decided_early_while_the_tail_waits_for_a_backend():
    ahead = await under_pressure(waits_for_decisions=False)
    assert ahead.shed_before == []


async def test_nothing_is_decided_early_with_room():
    ahead = await under_pressure(waits_for_decisions=True, pressed=False)
    assert ahead.shed_before == []


# -- lag


async def test_lag_is_how_long_the_oldest_record_waits(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(runner_module, "monotonic", lambda: now[0])
    run = Run(FakeLog())
    now[0] += 3600
    await run.runner.tick()
    run.log.append(b"0", b"1")
    assert run.runner.lag_seconds() == 0  # an idle hour that nobody scraped in is no lag of it
    now[0] += 5
    await run.runner.tick()
    assert run.runner.lag_seconds() == 5
    run.runner.tail.allow(2)
    await run.runner.tail.advance()
    first, second = run.outlet.taken
    run.outlet.taken = [first]
    run.outlet.answer()
    now[0] += 2
    assert run.runner.lag_seconds() == 0  # another one is the oldest now
    now[0] += 2
    assert run.runner.lag_seconds() == 2
    run.outlet.taken = [second]
    run.outlet.answer()
    assert run.runner.lag_seconds() == 0


# -- trouble


@pytest.mark.parametrize("processors", [(), (Ahead,)], ids=["tail", "head"])
async def test_a_reading_that_dies_is_told(processors, caplog):
    class Broken(FakeLog):
        async def read(self, position, max_bytes):
            raise RuntimeError("not for everybody")

    run = Run(Broken(b"0"), *map(made, processors))
    await run.runner.start()
    await turns()
    assert run.died == ["partition 0: RuntimeError"]
    assert "partition 0: reading stopped" in caplog.text
    await run.runner.stop(0)


async def test_a_stop_is_no_death():
    unhandled = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))
    run = Run(FakeLog(b"0"))
    await run.runner.start()
    await turns()
    run.outlet.answer()
    await run.runner.stop(0)
    await turns()
    assert (run.died, unhandled) == ([], [])


async def test_the_mark_is_committed_while_it_runs(monkeypatch):
    monkeypatch.setattr(runner_module, "COMMIT_EVERY_S", 0)
    run = Run(FakeLog(b"0", b"1"))
    await run.runner.start()
    await turns()
    run.outlet.answer()
    await turns()
    assert run.log.commits == [2]
    await run.runner.stop(0)


async def test_a_partition_that_another_owns_is_let_go(caplog):
    run = Run(FakeLog(b"0"))
    run.log.commit_errors.append(OwnershipLostError())
    await run.runner.start()
    await turns()
    run.outlet.answer()
    await run.runner.stop(0)
    assert (run.log.commits, run.died) == ([], [])
    assert "ownership lost" in caplog.text
