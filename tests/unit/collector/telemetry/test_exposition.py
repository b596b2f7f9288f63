"""The ledger and the process as metrics: what is scraped is what the books say now."""

import gc
import os
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from collector.ack import Ack, leaked
from collector.telemetry import exposition
from collector.telemetry.catalogue import CATALOGUE
from collector.telemetry.exposition import LedgerExposition, counter, gauge, resident_bytes
from collector.telemetry.ledger import Ledger


def scraped(ledger):
    registry = CollectorRegistry()
    registry.register(LedgerExposition(ledger))
    lines = generate_latest(registry).decode().splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}


def test_every_page_of_the_books_is_shown():
    ledger = Ledger()
    books = ledger.account("traces/in")
    books.accept(100)
    books.deliver(10)
    books.filter(20, "not_sampled")
    books.dead_letter(3, "rejected")
    books.give_back(4, "queue_full")
    books.lose(5, "damaged")
    ledger.account("traces").accept(1)
    found = scraped(ledger)
    shown = {name: value for name, value in found.items() if "pipeline=" in name}
    one, other = 'pipeline="traces/in"', 'pipeline="traces"'
    assert shown == {
        f"butterfly_accepted_items_total{{{one}}}": 100,
        f"butterfly_accepted_items_total{{{other}}}": 1,
        f"butterfly_delivered_items_total{{{one}}}": 10,
        f"butterfly_delivered_items_total{{{other}}}": 0,
        f'butterfly_filtered_items_total{{{one},reason="not_sampled"}}': 20,
        f'butterfly_dead_lettered_items_total{{{one},reason="rejected"}}': 3,
        f'butterfly_returned_items_total{{{one},reason="queue_full"}}': 4,
        f'butterfly_lost_items_total{{{one},reason="damaged"}}': 5,
        f"butterfly_held_items{{{one}}}": 58,
        f"butterfly_held_items{{{other}}}": 1,
    }


def test_each_scrape_reads_the_books_anew():
    ledger = Ledger()
    registry = CollectorRegistry()
    registry.register(LedgerExposition(ledger))
    value = registry.get_sample_value
    assert value("butterfly_accepted_items_total", {"pipeline": "a"}) is None
    ledger.account("a").accept(2)
    assert value("butterfly_accepted_items_total", {"pipeline": "a"}) == 2
    ledger.account("a").accept(3)
    assert value("butterfly_accepted_items_total", {"pipeline": "a"}) == 5


def test_a_leaked_acknowledgement_is_counted():
    registry = CollectorRegistry()
    registry.register(LedgerExposition(Ledger()))
    before = registry.get_sample_value("butterfly_leaked_acks_total")
    Ack(lambda *_: None)
    gc.collect()
    assert registry.get_sample_value("butterfly_leaked_acks_total") == before + 1 == leaked()


def test_uptime_counts_from_the_start(monkeypatch):
    now = [50.0]
    monkeypatch.setattr(exposition, "monotonic", lambda: now[0])
    registry = CollectorRegistry()
    registry.register(LedgerExposition(Ledger()))
    now[0] += 12.5
    assert registry.get_sample_value("butterfly_uptime_seconds") == 12.5


def test_resident_memory_is_that_of_this_process():
    status = Path(f"/proc/{os.getpid()}/status").read_text()
    (kib,) = [int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")]
    assert resident_bytes() == pytest.approx(kib << 10, rel=0.1)


@pytest.mark.parametrize("make", [gauge, counter])
def test_families_are_as_the_catalogue_says(make):
    name = "butterfly_log_head" if make is gauge else "butterfly_lost_items_total"
    family = make(name, [(tuple("abc"[: len(CATALOGUE[name].labels)]), 1.0)])
    assert family.documentation == CATALOGUE[name].about
    assert tuple(family.samples[0].labels) == CATALOGUE[name].labels
    assert family.samples[0].name == name


def test_a_name_that_is_not_in_the_catalogue_is_refused():
    with pytest.raises(KeyError):
        gauge("butterfly_made_up", [])
