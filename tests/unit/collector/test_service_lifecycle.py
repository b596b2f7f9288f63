"""The service with real parts: a file exporter, a listener and an admin page on free ports, and real signals."""

import asyncio
import os
import signal

import aiohttp
import pytest

from collector.config import load
from collector.errors import ConfigError
from collector.registry import Registry
from collector.service import Service
from collector.testing.batches import traces_payload
from tests.servers.process import free_ports

YAML = """\
receivers: {{otlp: {{protocols: {{http: {{endpoint: "127.0.0.1:{port}"}}}}}}}}
exporters: {{file: {{path: "{folder}/{out}.jsonl"}}}}
service:
  data_dir: {folder}/data
  telemetry: {{metrics: {{address: "127.0.0.1:{admin}"}}}}
  pipelines:
    traces: {{receivers: [otlp], exporters: [file]}}
"""


class Life:
    """A service in this process, its file, and what it answers."""

    def __init__(self, folder):
        self.folder, self.port, self.admin = folder, *free_ports(2)
        self.file = folder / "gateway.yaml"
        self.write()
        self.service = Service(self.load(), self.load)
        self.task = None

    def write(self, out="one", port=None):
        text = YAML.format(folder=self.folder, port=port or self.port, admin=self.admin, out=out)
        self.file.write_text(text)

    def load(self):
        return load(str(self.file), Registry(), {})

    async def get(self, path):
        async with aiohttp.ClientSession() as session:
            try:
                async with session.get(f"http://127.0.0.1:{self.admin}{path}") as reply:
                    return reply.status, await reply.text()
            except aiohttp.ClientConnectionError:
                return 0, ""

    async def send(self, spans):
        async with aiohttp.ClientSession() as session:
            url = f"http://127.0.0.1:{self.port}/v1/traces"
            headers = {"content-type": "application/x-protobuf"}
            async with session.post(url, data=traces_payload(spans), headers=headers) as reply:
                return reply.status

    async def until(self, holds):
        async with asyncio.timeout(10):
            while not await holds():
                assert not self.task.done(), await self.task
                await asyncio.sleep(0.01)

    async def ready(self):
        return (await self.get("/readyz"))[0] == 200

    def accepted(self):
        return self.service.ledger.account("traces").accepted


@pytest.fixture
async def life(tmp_path):
    life = Life(tmp_path)
    life.task = asyncio.create_task(life.service.run())
    await life.until(life.ready)
    yield life
    life.service.stop()
    await asyncio.wait_for(life.task, 10)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        asyncio.get_running_loop().remove_signal_handler(number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_cleanly_with_everything_delivered(life, number):
    assert await life.send(20) == 200
    os.kill(os.getpid(), number)
    assert await asyncio.wait_for(life.task, 9) == 0
    books = life.service.ledger.account("traces")
    assert (books.accepted, books.delivered, books.held) == (20, 20, 0)
    assert (life.folder / "one.jsonl").read_text().count('"spanId"') >= 20
    assert await life.get("/livez") == (0, "")


async def test_the_folder_for_data_is_its_owners_alone(life):
    assert (life.folder / "data").stat().st_mode & 0o777 == 0o700


async def test_sighup_swaps_the_new_file_in_and_the_books_go_on(life):
    await life.send(5)
    life.write(out="two")
    old = life.service.graph
    os.kill(os.getpid(), signal.SIGHUP)

    async def swapped():
        return life.service.graph not in (None, old)

    await life.until(swapped)
    await life.until(life.ready)
    assert await life.send(7) == 200
    assert life.accepted() == 12

    async def delivered():
        return life.service.ledger.account("traces").delivered == 12

    await life.until(delivered)
    assert (life.folder / "two.jsonl").exists()
    status, metrics = await life.get("/metrics")
    assert status == 200
    assert metrics.count("# TYPE butterfly_inflight_bytes gauge") == 1  # nothing of the old graph is scraped


async def test_sighup_with_a_wrong_file_changes_nothing(life, caplog):
    life.file.write_text("receivers: {otlp: {protocolls: }}\n")
    graph = life.service.graph
    os.kill(os.getpid(), signal.SIGHUP)

    async def refused():
        return "reload refused" in caplog.text

    await life.until(refused)
    assert "protocolls" in caplog.text
    assert life.service.graph is graph
    assert await life.send(3) == 200


async def test_one_that_cannot_start_gives_way_to_the_one_before(life, caplog):
    taken = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
    life.write(port=taken.sockets[0].getsockname()[1])
    os.kill(os.getpid(), signal.SIGHUP)

    async def back():
        return "can't start, back to the one before" in caplog.text and await life.ready()

    await life.until(back)
    assert await life.send(3) == 200
    taken.close()
    await taken.wait_closed()


async def test_a_pipeline_that_dies_ends_the_process_with_1(life):
    life.service._fail("partition 0: RuntimeError")
    assert await asyncio.wait_for(life.task, 9) == 1


async def test_a_first_start_that_fails_raises_and_closes_the_admin_page(tmp_path):
    taken = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
    life = Life(tmp_path)
    life.write(port=taken.sockets[0].getsockname()[1])
    with pytest.raises((OSError, ConfigError)):
        await Service(life.load(), life.load).run()
    assert await life.get("/livez") == (0, "")
    taken.close()
    await taken.wait_closed()


async def test_without_a_way_to_reload_sighup_is_ignored(life):
    life.service._reload = None
    graph = life.service.graph
    os.kill(os.getpid(), signal.SIGHUP)
    await asyncio.sleep(0.02)
    assert life.service.graph is graph
    assert await life.ready()
