"""The service around a graph: reloads at any moment, a configuration that can't start, the word that it ends."""

import asyncio
from types import SimpleNamespace

import pytest

from collector import service as service_module
from collector.errors import ConfigError
from collector.service import Service


class FakeAdmin:
    def __init__(self, *_):
        self.graph = None

    async def start(self):
        pass

    async def stop(self):
        pass


class FakeExposition:
    def __init__(self, graph):
        self.graph = graph

    def collect(self):
        return []


class World:
    """Configurations by name, and what became of them."""

    def __init__(self, folder):
        self.folder, self.events, self.fails, self.in_start, self.in_stop = folder, [], {}, None, None
        self.next = []

    def config(self, name):
        telemetry = SimpleNamespace(metrics=SimpleNamespace(address="localhost:0"))
        letter = SimpleNamespace(directory=self.folder, max_size=1)
        data = SimpleNamespace(
            data_dir=self.folder / name, telemetry=telemetry, dead_letter=letter, inflight_limit=1, lookahead_memory=1
        )
        return SimpleNamespace(name=name, service=data, pipelines={name: None})

    def reload(self):
        found = self.next.pop(0)
        if isinstance(found, Exception):
            raise found
        return self.config(found)


@pytest.fixture
def world(tmp_path, monkeypatch):
    world = World(tmp_path)

    class FakeGraph:
        def __init__(self, name):
            self.name = name

        async def start(self):
            world.events.append(f"start {self.name}")
            if world.in_start is not None:
                world.in_start()
            await asyncio.sleep(0)
            if self.name in world.fails:
                raise world.fails[self.name]

        async def stop(self):
            if world.in_stop is not None:
                world.in_stop()
            await asyncio.sleep(0)
            world.events.append(f"stop {self.name}")

    monkeypatch.setattr(service_module, "AdminServer", FakeAdmin)
    monkeypatch.setattr(service_module, "Builder", lambda config, _: SimpleNamespace(build=lambda: config.name))
    monkeypatch.setattr(service_module, "Graph", FakeGraph)
    monkeypatch.setattr(service_module, "GraphExposition", FakeExposition)
    return world


async def running(world, service):
    task = asyncio.create_task(service.run())
    await turns()
    return task


async def turns():
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_reload_stops_the_old_one_and_starts_the_new_one(world):
    service = Service(world.config("one"), world.reload)
    task = await running(world, service)
    world.next = ["two"]
    service._ask_reload()
    await turns()
    service.stop()
    assert await task == 0
    assert world.events == ["start one", "stop one", "start two", "stop two"]


async def test_a_wrong_file_leaves_the_running_one(world):
    service = Service(world.config("one"), world.reload)
    task = await running(world, service)
    world.next = [ConfigError(["wrong"])]
    service._ask_reload()
    await turns()
    assert world.events == ["start one"]
    service.stop()
    await task


async def test_a_reload_asked_for_during_a_stop_reads_the_file_again(world):
    service = Service(world.config("one"), world.reload)
    task = await running(world, service)
    world.next = ["two", "three"]

    def edited_again():
        world.in_stop = None
        service._ask_reload()

    world.in_stop = edited_again
    service._ask_reload()
    await turns()
    await turns()
    assert world.next == []
    assert world.events[-1] == "start three"
    service.stop()
    await task


async def test_a_reload_asked_for_during_the_start_reads_the_file(world):
    service = Service(world.config("one"), world.reload)
    world.next = ["two"]

    def early():
        world.in_start = None
        service._ask_reload()

    world.in_start = early
    task = await running(world, service)
    await turns()
    assert world.events == ["start one", "stop one", "start two"]
    service.stop()
    await task


@pytest.mark.parametrize("error", [OSError("port in use"), ConfigError(["no"]), RuntimeError("a component's own")])
async def test_one_that_cannot_start_gives_way_to_the_one_before(world, error):
    service = Service(world.config("one"), world.reload)
    task = await running(world, service)
    world.next, world.fails = ["two"], {"two": error}
    service._ask_reload()
    await turns()
    assert world.events == ["start one", "stop one", "start two", "start one"]
    assert service.config.name == "one"
    service.stop()
    assert await task == 0


async def test_a_data_folder_that_cannot_be_made_gives_way_too(world):
    service = Service(world.config("one"), world.reload)
    task = await running(world, service)
    (world.folder / "two").write_text("a file stands here")
    world.next = ["two"]
    service._ask_reload()
    await turns()
    assert world.events == ["start one", "stop one", "start one"]
    service.stop()
    await task


async def test_the_first_configuration_that_cannot_start_ends_the_run(world):
    world.fails = {"one": ConfigError(["no"])}
    with pytest.raises(ConfigError):
        await Service(world.config("one"), world.reload).run()


async def test_the_end_is_told_once(world):
    told = []
    service = Service(world.config("one"), on_stop=lambda: told.append(1))
    task = await running(world, service)
    service.stop()
    service._fail("partition 0: died")
    assert await task == 1
    assert told == [1]
