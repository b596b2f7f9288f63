"""From YAML to parts: who shares what, who stands where, and what can't be built."""

import asyncio

import numpy as np
import pytest
import yaml
from graph_fakes import FakeDeadLetter, FakeLog, FakeLookahead, turns

from collector.ack import Outcome
from collector.batch import Signal
from collector.component.connector import DurableConnector, Reader
from collector.component.deriving import DerivingConnector
from collector.component.exporter import Exporter
from collector.component.follower import VerdictFollower
from collector.component.processor import Admitting, Processor
from collector.component.receiver import Receiver
from collector.component.trace_board import DROPPED, KEPT, UNDECIDED, Decided
from collector.component.verdict_feed import VerdictFeed
from collector.config import load, select
from collector.errors import Overloaded
from collector.graph.build import Builder, Surroundings
from collector.graph.graph import Graph
from collector.graph.outlet import LogSink
from collector.graph.states import MAGIC
from collector.telemetry.ledger import Ledger
from collector.telemetry.meter import Meter


class In(Receiver):
    async def start(self, intakes):
        self.intakes = intakes

    async def stop(self):
        pass


class Out(Exporter):
    made = 0

    def __init__(self, *args):
        super().__init__(*args)
        type(self).made += 1
        self.got = []

    async def export(self, batch):
        self.got.append(batch.to_bytes())
        return 0


class Log(DurableConnector):
    def __init__(self, *args):
        super().__init__(*args)
        self.appended, self.listeners = [], []

    async def start(self, listeners):
        self.listeners = listeners

    async def stop(self):
        pass

    def append(self, batch):
        self.appended.append(batch)


class Plain(Processor):
    pure = True


class Door(Admitting):
    pure = True

    def admit(self, size, inflight):
        raise Overloaded("shut")


class Ahead(FakeLookahead):
    def process(self, batch):
        return (batch,)


class Folding(Processor):
    """Says how many items it saw so far each time that time passes."""

    def __init__(self, name, emit, durable):
        super().__init__(None, None)
        self.name, self.emit, self.durable, self.seen = name, emit, durable, 0

    def process(self, batch):
        self.seen += len(batch)
        return (batch,)

    def tick(self, now_ns):
        self.emit(b"seen %d" % self.seen, 1)
        return ()


class Deriving(DerivingConnector):
    source, target = Signal.TRACES, Signal.METRICS

    def __init__(self, *args):
        super().__init__(*args)
        self.stages = []

    def stage(self, name, emit, *, durable):
        self.stages.append(Folding(name, emit, durable))
        return self.stages[-1]


class Decider(Ahead):
    """A blob is one trace: a byte, kept when it is even."""

    @classmethod
    def decided_in(cls, blob):
        if len(blob) != 1:
            raise ValueError("damaged")
        ids = np.frombuffer(blob, np.uint8).astype(np.uint64)
        return Decided(np.zeros(1, np.uint64), ids, ids % 2 == 0)


class Following(VerdictFollower):
    def traces_of(self, batch):
        raise NotImplementedError


class Feed(VerdictFeed):
    def __init__(self, reader, publish):
        self.reader, self.publish, self.events, self.why = reader, publish, [], None

    async def start(self):
        self.events.append("start")

    async def stop(self):
        self.events.append("stop")

    def obstacle(self):
        return self.why


class Shared(Log):
    shared = True

    def verdict_feed(self, reader, publish):
        return Feed(reader, publish)


CLASSES = {"derive": Deriving, "in": In, "out": Out, "log": Log, "plain": Plain, "door": Door, "ahead": Ahead}
CLASSES |= {"decider": Decider, "following": Following, "shared": Shared}


class Source:
    def load(self, kind, type_name, folder):
        return CLASSES[type_name]


SECTIONS = {
    "receivers": ("in",),
    "processors": ("plain", "door", "ahead", "decider", "following"),
    "exporters": ("out",),
    "connectors": ("log", "derive", "shared"),
}
AT_ONCE = {"sending_queue": {"batch": {"flush_timeout": "1ms", "min_size": 1}}}


def line(receivers, exporters, processors=""):
    return {"receivers": receivers.split(), "processors": processors.split(), "exporters": exporters.split()}


def surroundings(folder, ledger):
    return Surroundings(
        loop=asyncio.get_running_loop(),
        ledger=ledger,
        meter=Meter(),
        dead_letter=FakeDeadLetter(),
        data_dir=folder,
        inflight_limit=1 << 20,
        resident_bytes=lambda: 7,
        fatal=pytest.fail,
    )


class Built:
    """The parts of `pipelines`; every component that they name is configured."""

    def __init__(self, folder, service=None, **pipelines):
        pipelines = {
            f"metrics/{name[2:]}" if name.startswith("m_") else f"traces/{name}": pipeline
            for name, pipeline in pipelines.items()
        }
        used = dict.fromkeys(id_ for pipeline in pipelines.values() for ids in pipeline.values() for id_ in ids)
        tree = {
            section: {id_: AT_ONCE if section == "exporters" else None for id_ in used if id_.split("/")[0] in types}
            for section, types in SECTIONS.items()
        }
        tree["service"] = {"pipelines": pipelines, **(service or {})}
        file = folder / "gateway.yaml"
        file.write_text(yaml.safe_dump(tree))
        self.ledger = Ledger()
        self.parts = Builder(load(str(file), Source(), {}), surroundings(folder, self.ledger)).build()
        self.graph = Graph(self.parts)

    async def __aenter__(self):
        await self.graph.start()
        return self

    async def __aexit__(self, *_):
        await self.graph.stop()

    def got(self, id_="out"):
        return self.parts.queues[id_]._exporter.got

    def account(self, name):
        return self.ledger.account(f"traces/{name}")

    def send(self, payload, id_="in", count=3):
        answers = []
        intake = self.parts.receivers[id_][0].intakes[Signal.TRACES]
        intake.admit(len(payload)).submit(payload, count=count, on_done=lambda o, r, n: answers.append((o, r)))
        return answers


async def until(holds):
    async with asyncio.timeout(5):
        while not holds():
            await asyncio.sleep(0.001)


async def test_one_batch_reaches_every_exporter(tmp_path):
    async with Built(tmp_path, a=line("in", "out out/b", "plain")) as built:
        answers = built.send(b"spans")
        await until(lambda: built.got() and built.got("out/b"))
        assert (built.got(), built.got("out/b"), answers) == ([b"spans"], [b"spans"], [(Outcome.DELIVERED, "")])
        await until(lambda: built.account("a").held == 0)
        assert built.account("a").delivered == 3


async def test_requests_that_come_later_are_taken_too(tmp_path):
    async with Built(tmp_path, a=line("in", "out")) as built:
        for number in range(3):
            answers = built.send(b"%d" % number)
            await until(lambda answers=answers: answers)
        await until(lambda: b"".join(built.got()) == b"012")


async def test_one_exporter_serves_several_pipelines_through_one_queue(tmp_path):
    Out.made = 0
    async with Built(tmp_path, a=line("in", "out"), b=line("in/b", "out")) as built:
        assert (list(built.parts.queues), Out.made) == (["out"], 1)
        built.send(b"one")
        built.send(b"two", "in/b")
        await until(lambda: sorted(b"".join(built.got())) == sorted(b"onetwo"))
        await until(lambda: built.account("a").delivered == built.account("b").delivered == 3)


async def test_one_receiver_feeds_several_pipelines(tmp_path):
    async with Built(tmp_path, a=line("in", "out"), b=line("in", "out/b")) as built:
        answers = built.send(b"spans")
        await until(lambda: built.got() and built.got("out/b"))
        assert answers == [(Outcome.DELIVERED, "")]
        assert built.account("a").accepted == built.account("b").accepted == 3


async def test_a_connector_stands_between_two_pipelines(tmp_path):
    async with Built(tmp_path, a=line("in", "log"), b=line("log", "out")) as built:
        connector = built.parts.connectors["log"]
        answers = built.send(b"spans")
        await turns()
        (appended,) = connector.appended
        assert answers == []  # the log must have it first
        appended.ack.resolve(Outcome.DELIVERED)
        assert answers == [(Outcome.DELIVERED, "")]
        assert connector.listeners == built.parts.listeners["log"]
        assert connector.context.readers == (Reader("traces/b", Signal.TRACES, journal=False),)
        (listener,) = connector.listeners
        log = FakeLog(b"spans")
        await listener.assigned(log)
        await until(lambda: built.got() == [b"spans"])
        await listener.revoked(log)
        assert log.commits == [1]


async def test_a_connector_that_is_only_written_has_no_listener(tmp_path):
    Built(tmp_path, a=line("in", "log"), b=line("log", "out"))
    half = select(load(str(tmp_path / "gateway.yaml"), Source(), {}), ["traces/a"])
    parts = Builder(half, surroundings(tmp_path, Ledger())).build()
    assert (list(parts.connectors), parts.listeners, parts.queues) == (["log"], {}, {})


async def test_a_log_has_several_readers_whichever_are_selected(tmp_path):
    pipelines = {"a": line("in", "log"), "b": line("log", "out", "ahead"), "c": line("log", "out/c")}
    async with Built(tmp_path, **pipelines) as built:
        connector = built.parts.connectors["log"]
        assert [(each.id, each.signal) for each in connector.listeners] == [
            ("traces/b", Signal.TRACES),
            ("traces/c", Signal.TRACES),
        ]
        logs = [FakeLog(b"spans"), FakeLog(b"spans")]
        for listener, log in zip(connector.listeners, logs, strict=True):
            await listener.assigned(log)
        assert [(id_, runner.account.pipeline) for id_, runner in built.graph.runners()] == [
            ("log", "traces/b"),
            ("log", "traces/c"),
        ]
        await until(lambda: built.got("out/c") == [b"spans"])
        for listener, log in zip(connector.listeners, logs, strict=True):
            await listener.revoked(log)
    half = select(load(str(tmp_path / "gateway.yaml"), Source(), {}), ["traces/a", "traces/c"])
    parts = Builder(half, surroundings(tmp_path, Ledger())).build()
    assert [each.id for each in parts.listeners["log"]] == ["traces/c"]
    assert parts.connectors["log"].context.readers == (
        Reader("traces/b", Signal.TRACES),
        Reader("traces/c", Signal.TRACES, journal=False),
    )


SAMPLED_ELSEWHERE = {
    "in": line("in", "shared log"),
    "sample": line("shared", "out", "decider"),
    "look": line("shared", "out", "ahead"),
    "follow": line("log", "out", "following"),
}


def selected(folder, *names):
    half = select(load(str(folder / "gateway.yaml"), Source(), {}), names)
    return Builder(half, surroundings(folder, Ledger())).build()


async def test_verdicts_of_samplers_elsewhere_come_to_the_board(tmp_path):
    Built(tmp_path, **SAMPLED_ELSEWHERE)
    parts = selected(tmp_path, "traces/follow")
    assert list(parts.connectors) == ["log"]  # the other is asked for its verdicts alone
    assert list(parts.feeds) == ["shared (traces/sample)"]
    feed, graph = parts.feeds["shared (traces/sample)"], Graph(parts)
    assert feed.reader == Reader("traces/sample", Signal.TRACES)
    feed.publish(b"\x04")
    feed.publish(b"\x05")
    feed.publish(MAGIC + b"what a processor remembers")
    with pytest.raises(ValueError, match="damaged"):
        feed.publish(b"45")
    ids = np.array([4, 5, 6], np.uint64)
    assert list(parts.board.look_up(np.zeros(3, np.uint64), ids)) == [KEPT, DROPPED, UNDECIDED]
    await graph.start()
    assert feed.events == ["start"]
    feed.why = "the brokers are away"
    assert graph.not_ready() == ["shared (traces/sample): the brokers are away"]
    await graph.stop()
    assert feed.events == ["start", "stop"]


async def test_partitions_that_others_sample_are_followed_beside_ones_own(tmp_path):
    built = Built(tmp_path, **SAMPLED_ELSEWHERE)
    assert list(built.parts.feeds) == ["shared (traces/sample)"]


async def test_nothing_is_followed_where_nobody_goes_by_it_or_none_can_be_had(tmp_path):
    Built(tmp_path, **SAMPLED_ELSEWHERE)
    assert selected(tmp_path, "traces/in", "traces/sample").feeds == {}
    Built(tmp_path, a=line("in", "log"), b=line("log", "out", "decider"), c=line("log", "out", "following"))
    assert selected(tmp_path, "traces/c").feeds == {}


async def test_several_pipelines_may_write_one_log(tmp_path):
    built = Built(tmp_path, a=line("in", "log"), b=line("in/b", "log"), c=line("log", "out"))
    sinks = [built.parts.direct[f"traces/{name}"]._outlet._sinks[0] for name in "ab"]
    assert all(isinstance(sink, LogSink) for sink in sinks)
    assert list(built.parts.connectors) == ["log"]


async def test_each_partition_of_a_log_gets_processors_of_its_own(tmp_path):
    built = Built(tmp_path, a=line("in", "log"), b=line("log", "out", "plain ahead"))
    (listener,) = built.parts.listeners["log"]
    one, two = (FakeLog() for _ in range(2))
    for log in (one, two):
        await listener.assigned(log)
    first, second = listener.runners.values()
    assert first.head.processor is not second.head.processor
    for log in (one, two):
        await listener.revoked(log)


async def test_what_a_log_keeps_makes_an_exporter_durable(tmp_path):
    built = Built(tmp_path, a=line("in", "log"), b=line("log", "out out/mixed"), c=line("in/c", "out/direct out/mixed"))
    assert {id_: queue._durable for id_, queue in built.parts.queues.items()} == {
        "out": True,
        "out/direct": False,
        "out/mixed": False,
    }


async def test_lookahead_without_a_log_reads_one_in_memory(tmp_path):
    service = {"lookahead_memory": 100}
    async with Built(tmp_path, service, a=line("in", "out", "plain ahead plain/b")) as built:
        runner = built.parts.memory["traces/a"]
        assert (runner.partition.limit, runner.partition.name) == (100, "traces/a")
        assert [each.id for each in runner.tail._chain.processors] == ["ahead", "plain/b"]
        assert [each.id for each in built.parts.direct["traces/a"]._chain.processors] == ["plain"]
        answers = built.send(b"spans")
        await until(lambda: answers)
        assert answers == [(Outcome.DELIVERED, "")]
        assert (built.got(), built.account("a").accepted, built.account("a").held) == ([], 3, 3)
        assert list(built.graph.runners()) == [("traces/a", runner)]
    assert built.got() == [b"spans"]  # undecided at the stop: decided on what is there, and sent
    assert (built.account("a").accepted, built.account("a").delivered, built.account("a").held) == (3, 3, 0)


async def test_the_door_asks_the_guards_of_every_pipeline_behind_a_receiver(tmp_path):
    async with Built(tmp_path, a=line("in", "out"), b=line("in", "out/b", "door"), c=line("in/c", "out")) as built:
        with pytest.raises(Overloaded, match="shut"):
            built.send(b"spans")
        assert built.parts.admission.inflight == 0
        built.send(b"spans", "in/c")
        await until(lambda: built.got() == [b"spans"])


async def test_components_are_told_what_is_theirs(tmp_path):
    built = Built(tmp_path, a=line("in/x", "out"))
    context = built.parts.receivers["in/x"][0].context
    assert (context.id, context.log.name, context.data_dir) == ("in/x", "butterfly.in/x", tmp_path)
    assert context.resident_bytes() == 7


async def test_what_is_made_of_a_log_goes_into_the_pipelines_of_the_other_signal(tmp_path):
    pipelines = {"a": line("in", "log"), "b": line("log", "derive"), "m_one": line("derive", "out")}
    async with Built(tmp_path, **pipelines) as built:
        connector = built.parts.connectors["log"]
        assert connector.context.readers == (Reader("traces/b", Signal.TRACES, journal=True),)
        (listener,) = connector.listeners
        log = FakeLog(b"spans")
        await listener.assigned(log)
        await until(lambda: log.commits == [1])
        (stage,) = built.parts.deriving["derive"].stages
        assert (stage.name, stage.durable, stage.seen) == ("traces/b/0", True, 2)
        assert built.account("b").delivered == 2
        await until(lambda: b"seen 2" in b"".join(built.got()))
        books = built.ledger.account("metrics/one")
        await until(lambda: books.delivered)
        await listener.revoked(log)
        assert built.account("b").held == 0


async def test_a_pipeline_may_end_in_an_exporter_and_in_what_is_made_of_it(tmp_path):
    pipelines = {"a": line("in", "out derive"), "m_one": line("derive", "out/m"), "m_two": line("derive", "out/n")}
    async with Built(tmp_path, **pipelines) as built:
        answers = built.send(b"spans")
        await until(lambda: built.got() == [b"spans"])
        assert answers == [(Outcome.DELIVERED, "")]
        (stage,) = built.parts.deriving["derive"].stages
        assert (stage.name, stage.durable) == ("traces/a", False)
        await until(lambda: b"seen 3" in b"".join(built.got("out/m")) and b"seen 3" in b"".join(built.got("out/n")))


async def test_a_pipeline_that_ends_in_nothing_else_delivers_to_its_sender(tmp_path):
    async with Built(tmp_path, a=line("in", "derive"), m_one=line("derive", "out")) as built:
        answers = built.send(b"spans")
        await until(lambda: answers == [(Outcome.DELIVERED, "")])
        assert (built.account("a").delivered, built.account("a").held) == (3, 0)


async def test_what_nobody_reads_here_is_made_for_nothing(tmp_path):
    Built(tmp_path, a=line("in", "out derive"), m_one=line("derive", "out/m"))
    half = select(load(str(tmp_path / "gateway.yaml"), Source(), {}), ["traces/a"])
    graph = Graph(Builder(half, surroundings(tmp_path, Ledger())).build())
    await graph.start()
    await asyncio.sleep(0.15)  # it is ticked, and emits
    await graph.stop()
