"""The live screen, drawn on a recorded console from made-up figures."""

import asyncio
import gc
import io
import logging
import re
from types import SimpleNamespace

import pytest
from rich.console import Console

from collector.ack import Ack
from collector.cli import screen as screen_module
from collector.cli.screen import Screen
from collector.telemetry.ledger import Ledger
from collector.telemetry.meter import Meter


def runner(end, tail, settled, lag):
    return SimpleNamespace(
        account=SimpleNamespace(pipeline="traces/sample"),
        partition=SimpleNamespace(end=end),
        tail=SimpleNamespace(position=tail, watermark=SimpleNamespace(position=settled)),
        lag_seconds=lambda: lag,
    )


def queue(items, size, trouble=None):
    return SimpleNamespace(items=items, bytes=size, healthy=lambda: trouble)


class World:
    def __init__(self):
        self.service = SimpleNamespace(ledger=Ledger(), meter=Meter(), graph=None)
        self.reasons, self.now = [], 100.0

    def run(self, runners=(), queues=()):
        self.service.graph = SimpleNamespace(
            not_ready=lambda: self.reasons,
            runners=lambda: iter(runners),
            parts=SimpleNamespace(queues=dict(queues)),
        )

    def decided(self, policy, decision, count):
        counter = self.service.meter.counter("butterfly_sampling_traces_total")
        counter.labels(processor="tail_sampling", policy=policy, decision=decision).inc(count)


@pytest.fixture
def world(monkeypatch):
    world = World()
    monkeypatch.setattr(screen_module, "monotonic", lambda: world.now)
    monkeypatch.setattr(screen_module, "resident_bytes", lambda: 96 << 20)
    monkeypatch.setattr(screen_module, "leaked", lambda: 0)
    return world


def shown(screen):
    """Lines of words: what stands between two or more blanks is one."""
    console = Console(record=True, file=io.StringIO(), width=200)
    console.print(screen.draw())
    return [re.split(r"\s{2,}", line.strip()) for line in console.export_text().splitlines() if line.strip()]


def test_while_it_starts_it_says_so(world):
    assert shown(Screen(world.service, None, "quickstart.yaml")) == [
        ["Butterfly Collector", "quickstart.yaml", "memory 96 MiB"],
        ["starting"],
    ]


def test_without_anything_to_say_there_are_no_empty_tables(world):
    world.run()
    assert shown(Screen(world.service, None, "x"))[1:] == [["ready"]]


def test_every_figure_is_where_it_belongs(world):
    books = world.service.ledger.account("traces/sample")
    books.accept(10_000)
    books.deliver(1_000)
    books.filter(8_000, "not_sampled")
    books.give_back(5, "queue_full")
    books.dead_letter(2, "rejected")
    world.decided("errors", "sampled", 30)
    world.decided("none", "not_sampled", 1700)
    world.decided("ordinary", "sampled", 100)
    world.decided("ordinary", "not_sampled", 4)
    world.run(
        [("disk", runner(1200, 1150, 1100, 2.54))],
        [("file", queue(1234, 2048)), ("otlp", queue(0, 0, "refused, next attempt in 3 s"))],
    )
    assert shown(Screen(world.service, None, "x"))[1:] == [
        ["ready"],
        ["pipeline", "in/s", "in", "delivered", "filtered", "returned", "dead-lettered", "held"],
        ["traces/sample", "20,000", "10,000", "1,000", "8,000", "5", "2", "993"],
        ["traces by policy", "kept", "dropped"],
        ["errors", "30", "0"],
        ["none", "0", "1,700"],
        ["ordinary", "100", "4"],
        ["log", "read by", "records", "waiting to be decided", "to be settled", "lag"],
        ["disk", "traces/sample", "1,200", "50", "50", "2.5 s"],
        ["exporter", "queued items", "queued KiB", "state"],
        ["file", "1,234", "2", "delivering"],
        ["otlp", "0", "0", "refused, next attempt in 3 s"],
    ]


def test_it_says_why_it_is_not_ready(world):
    world.reasons = ["disk: the disk is full", "disk/b: the log is closed"]
    world.run()
    assert shown(Screen(world.service, None, "x"))[1] == [
        "not ready: disk: the disk is full; disk/b: the log is closed"
    ]


def test_a_leak_is_not_hidden(world, monkeypatch):
    monkeypatch.setattr(screen_module, "leaked", lambda: 3)
    assert shown(Screen(world.service, None, "x"))[0][-1] == "LEAKED ACKS 3"


def test_the_rate_is_that_of_the_last_second(world):
    screen = Screen(world.service, None, "x")
    world.run()
    books = world.service.ledger.account("traces")

    def rate():
        (row,) = [line for line in shown(screen) if line[0] == "traces"]
        return row[1]

    books.accept(0)
    assert rate() == "0"
    world.now += 1.0
    books.accept(3000)
    assert rate() == "3,000"
    world.now += 0.5
    books.accept(1000)
    assert rate() == "2,000"
    world.now += 0.5
    assert rate() == "1,000"
    world.now += 1.0
    assert rate() == "0"


def test_markup_in_an_id_is_no_markup(world):
    world.reasons = ["[bold]x[/bold]: shut"]
    world.run()
    assert "[bold]x[/bold]: shut" in shown(Screen(world.service, None, "[red]title"))[1][0]


def test_one_line_says_it_all_where_there_is_no_terminal(world):
    books = world.service.ledger.account("traces/in")
    books.accept(12_345)
    books.deliver(12_000)
    books.filter(300, "not_sampled")
    world.service.ledger.account("traces/out")
    assert Screen(world.service, None, "x").line() == (
        "traces/in: in 12,345 out 12,000 filtered 300 held 45; traces/out: in 0 out 0 filtered 0 held 0; rss 96 MiB"
    )


def test_the_line_adds_up_where_something_went_wrong(world):
    books = world.service.ledger.account("logs/out")
    books.accept(1_210)
    books.deliver(100)
    books.dead_letter(1_000, "refused")
    books.give_back(60, "shutdown")
    books.lose(40, "damaged")
    assert Screen(world.service, None, "x").line() == (
        "logs/out: in 1,210 out 100 filtered 0 returned 60 dead-lettered 1,000 lost 40 held 10; rss 96 MiB"
    )


async def test_without_a_console_the_line_is_logged_now_and_then(world, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(screen_module, "LINE_EVERY_S", 0)
    running = asyncio.create_task(Screen(world.service, None, "x").run())
    while len(caplog.records) < 2:
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert {record.getMessage() for record in caplog.records} == {"rss 96 MiB"}
    assert {record.name for record in caplog.records} == {"butterfly.status"}


async def test_with_one_the_screen_is_redrawn(world, monkeypatch):
    monkeypatch.setattr(screen_module, "REFRESH_S", 0)
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    running = asyncio.create_task(Screen(world.service, console, "x").run())
    for _ in range(5):
        await asyncio.sleep(0)
    assert "starting" in console.file.getvalue()
    world.run()
    for _ in range(5):
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert "ready" in console.file.getvalue()


def test_the_figures_come_from_the_process_itself():
    service = SimpleNamespace(ledger=Ledger(), meter=Meter(), graph=None)
    Ack(lambda *_: None)
    gc.collect()
    (head, _) = shown(Screen(service, None, "x"))
    assert head[-1].startswith("LEAKED ACKS ")
    assert re.fullmatch(r"memory [1-9]\d+ MiB", head[-2])
