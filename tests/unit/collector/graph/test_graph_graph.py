"""The graph's life: exporters first and receivers last, the other way round at the end, nothing left half started."""

import asyncio
from types import SimpleNamespace

import pytest
from graph_fakes import turns

from collector.batch import Signal
from collector.component.base import Extension
from collector.graph import graph as graph_module
from collector.graph.admission import Admission
from collector.graph.graph import Graph, Parts

ORDER = ["extension", "queue", "memory", "connector", "receiver"]


class Part:
    """Anything that starts and stops; what it does is in `events`."""

    def __init__(self, name, events, *, fails=None, stop_fails=None, ready=None):
        self.name, self.events, self.fails, self.stop_fails, self.why = name, events, fails, stop_fails, ready
        self.given, self.patience, self.ticks, self.runners = None, None, 0, {}
        self.bad_tick = None
        self.id = name

    async def start(self, *given):
        self.given = given
        await asyncio.sleep(0)
        if self.fails is not None:
            raise self.fails
        self.events.append(f"start {self.name}")

    async def stop(self, *patience):
        self.patience = patience
        await asyncio.sleep(0)
        self.events.append(f"stop {self.name}")
        if self.stop_fails is not None:
            raise self.stop_fails

    def ready(self):
        return self.why


class Runner(Part):
    async def tick(self):
        self.ticks += 1
        if self.bad_tick is not None:
            raise self.bad_tick


class Direct(Part):
    def tick(self, now_ns):
        self.ticks += 1
        if self.bad_tick is not None:
            raise self.bad_tick

    def drain(self):
        self.events.append(f"drain {self.name}")
        if self.bad_tick is not None:
            raise self.bad_tick


class Listener:
    def __init__(self, **runners):
        self.runners = runners


class World:
    def __init__(self, **faults):
        self.events = []
        kinds = {"memory": Runner, "direct": Direct}
        self.part = {
            name: kinds.get(name, Part)(name, self.events, **faults.get(name, {})) for name in [*ORDER, "direct"]
        }
        self.log_runner = Runner("runner", self.events)
        self.listener = Listener(partition=self.log_runner)
        part = self.part
        self.intakes = {Signal.TRACES: object()}
        self.parts = Parts(
            Admission(1),
            extensions={"x": part["extension"]},
            queues={"same": part["queue"]},
            connectors={"same": part["connector"]},
            listeners={"same": [self.listener]},
            memory={"traces": part["memory"]},
            direct={"traces": part["direct"]},
            receivers={"same": (part["receiver"], self.intakes)},  # one ID in three sections is nobody's mistake
        )
        self.graph = Graph(self.parts)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(graph_module, "TICK_S", 0)


async def test_exporters_start_first_and_receivers_last_and_stop_the_other_way_round():
    world = World()
    await world.graph.start()
    assert world.events == [f"start {name}" for name in ORDER]
    assert world.part["connector"].given == ([world.listener],)
    assert world.part["receiver"].given == (world.intakes,)
    world.events.clear()
    await world.graph.stop()
    assert world.events == [
        "stop receiver", "drain direct", "stop memory", "stop connector", "stop queue", "stop extension",
    ]  # fmt: skip


@pytest.mark.parametrize("broken", ORDER)
async def test_when_one_cannot_start_what_was_started_is_stopped_and_nothing_else(broken):
    world = World(**{broken: {"fails": OSError("address in use")}})
    with pytest.raises(OSError, match="address in use"):
        await world.graph.start()
    started = ORDER[: ORDER.index(broken)]
    assert [event for event in world.events if event.startswith("start")] == [f"start {name}" for name in started]
    stopped = {event.removeprefix("stop ") for event in world.events if event.startswith("stop")}
    assert stopped == set(started)


async def test_one_that_does_not_stop_cleanly_keeps_no_other_from_stopping(caplog):
    faults = {name: {"stop_fails": RuntimeError("stuck")} for name in ORDER}
    world = World(**faults)
    world.part["direct"].bad_tick = RuntimeError("stuck")
    await world.graph.start()
    await world.graph.stop()
    assert {event for event in world.events if event.startswith("stop")} == {f"stop {name}" for name in ORDER}
    for kind in ("receiver", "pipeline", "connector", "exporter", "extension"):
        assert f"a {kind} did not stop cleanly: RuntimeError" in caplog.text


async def test_the_time_to_stop_is_shared_out(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(graph_module, "monotonic", lambda: now[0])
    world = World()
    await world.graph.start()

    async def slow():
        now[0] += 4

    world.part["receiver"].stop = slow
    await world.graph.stop()
    assert world.part["memory"].patience == (2.0,)
    assert world.part["queue"].patience == (4.0,)
    late = World()
    await late.graph.start()

    async def slower():
        now[0] += 60

    late.part["receiver"].stop = slower
    await late.graph.stop()
    assert (late.part["memory"].patience, late.part["queue"].patience) == ((0.5,), (0.5,))


async def test_everything_is_ticked_and_a_failing_tick_harms_no_other(caplog):
    world = World()
    world.part["direct"].bad_tick = RuntimeError("do not show")
    world.part["memory"].bad_tick = RuntimeError()
    await world.graph.start()
    await turns()
    assert world.part["direct"].ticks > 3
    assert world.part["memory"].ticks > 3
    assert world.log_runner.ticks > 3
    await world.graph.stop()
    assert "pipeline traces failed on its own time: RuntimeError" not in caplog.text  # its ID is its own
    assert "pipeline direct failed on its own time: RuntimeError" in caplog.text
    assert "do not show" not in caplog.text
    ticks = world.log_runner.ticks
    await turns()
    assert world.log_runner.ticks == ticks


async def test_runners_are_named_by_what_feeds_them():
    world = World()
    assert list(world.graph.runners()) == [("same", world.log_runner), ("traces", world.part["memory"])]


async def test_not_ready_says_why():
    world = World(connector={"ready": "the disk is full"})
    assert world.graph.not_ready() == ["starting", "same: the disk is full"]
    await world.graph.start()
    assert world.graph.not_ready() == ["same: the disk is full"]
    world.part["connector"].why = None
    assert world.graph.not_ready() == []
    await world.graph.stop()


async def test_an_extension_does_nothing_by_default():
    extension = Extension(None, None)
    await extension.start()
    await extension.stop()


def test_reports_are_those_of_every_instance_of_a_component():
    def processor(id_, report):
        return SimpleNamespace(id=id_, report=lambda: report)

    parts = Parts(Admission(1 << 20))
    parts.direct["metrics/a"] = SimpleNamespace(
        processors=(processor("other", {"n": 0}), processor("limiter", {"n": 1}))
    )
    runner = SimpleNamespace(partition=SimpleNamespace(name="3"), processors=(processor("limiter", {"n": 2}),))
    parts.listeners["disk"] = [SimpleNamespace(runners={"3": runner})]
    parts.memory["metrics/b"] = SimpleNamespace(
        partition=SimpleNamespace(name="memory"), processors=(processor("silent", None),)
    )
    graph = Graph(parts)
    assert graph.reports("limiter") == [
        {"from": "metrics/a", "partition": "", "n": 1},
        {"from": "disk", "partition": "3", "n": 2},
    ]
    assert graph.reports("silent") == graph.reports("nobody") == []
