"""Time goes on for every part of a graph, whatever one of them does with it."""

import asyncio
from types import SimpleNamespace

import pytest

from collector.graph import graph as graph_module
from collector.graph.admission import Admission
from collector.graph.graph import Graph, Parts


class Ticked:
    """A pipeline or a runner; the first tick of a runner waits for `gate`."""

    def __init__(self, gate=None):
        self.id, self.ticks, self.gate = "traces", 0, gate

    async def start(self):
        pass

    async def stop(self, _patience):
        pass

    def drain(self):
        pass


class Line(Ticked):
    def tick(self, _now_ns):
        self.ticks += 1


class Runner(Ticked):
    async def tick(self):
        self.ticks += 1
        if self.gate is not None:
            await self.gate.wait()


@pytest.fixture
async def turn(monkeypatch):
    monkeypatch.setattr(graph_module, "TICK_S", 0)

    async def turns():
        for _ in range(20):
            await asyncio.sleep(0)

    return turns


async def test_a_slow_journal_does_not_stop_the_time_of_the_others(turn):
    parts, gate = Parts(Admission(1)), asyncio.Event()
    parts.direct["traces/in"], parts.memory["traces"] = Line(), Runner(gate)
    graph = Graph(parts)
    await graph.start()
    await turn()
    assert parts.direct["traces/in"].ticks > 5
    assert parts.memory["traces"].ticks == 1
    gate.set()
    await turn()
    assert parts.memory["traces"].ticks > 5
    await graph.stop()
    assert graph.not_ready() == []


async def test_a_partition_that_goes_while_another_is_waited_for_does_not_stop_time(turn):
    parts, gate = Parts(Admission(1)), asyncio.Event()
    stays, goes = Runner(gate), Runner()
    runners = {0: stays, 1: goes}
    parts.listeners["disk"] = [SimpleNamespace(runners=runners)]
    graph = Graph(parts)
    await graph.start()
    await turn()
    del runners[1]
    gate.set()
    await turn()
    assert stays.ticks > 5
    await graph.stop()
