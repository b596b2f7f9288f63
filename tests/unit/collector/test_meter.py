import re

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from collector.telemetry.catalogue import CATALOGUE, Metric
from collector.telemetry.meter import Meter

UNITS = ("_seconds", "_bytes", "_items", "_traces", "_total")


def scraped(meter):
    families = text_string_to_metric_families(generate_latest(meter.registry).decode())
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


@pytest.mark.parametrize("metric", CATALOGUE.values(), ids=lambda metric: metric.name)
def test_every_metric_of_the_catalogue_can_be_made_and_is_exposed(metric):
    meter = Meter()
    instrument = getattr(meter, metric.kind)(metric.name)
    assert getattr(meter, metric.kind)(metric.name) is instrument
    labelled = instrument.labels(*metric.labels) if metric.labels else instrument
    getattr(labelled, {"counter": "inc", "gauge": "set", "histogram": "observe"}[metric.kind])(1)
    name = f"{metric.name}_sum" if metric.kind == "histogram" else metric.name
    labels = tuple(sorted((label, label) for label in metric.labels))
    assert scraped(meter)[name, labels] == 1


@pytest.mark.parametrize("metric", CATALOGUE.values(), ids=lambda metric: metric.name)
def test_names_and_meanings_follow_the_conventions(metric):
    assert re.fullmatch(r"butterfly_[a-z][a-z_]*", metric.name)
    assert (metric.kind == "counter") == metric.name.endswith("_total")
    assert metric.about.endswith(".")
    assert len(set(metric.labels)) == len(metric.labels)
    assert (metric.kind == "histogram") == bool(metric.buckets)
    assert list(metric.buckets) == sorted(set(metric.buckets))
    if metric.kind == "histogram":
        assert metric.name.endswith(UNITS)


def test_the_wrong_kind_is_refused():
    with pytest.raises(ValueError, match="butterfly_held_items is a gauge, not a counter"):
        Meter().counter("butterfly_held_items")
    with pytest.raises(KeyError):
        Meter().counter("butterfly_unheard_of")


def test_a_component_brings_its_own_metric():
    meter = Meter()
    own = Metric("mine_total", "counter", "Mine.", ("kind",))
    meter.counter(own).labels(kind="a").inc(3)
    assert meter.counter(own) is meter.counter(Metric("mine_total", "counter", "Mine.", ("kind",)))
    assert scraped(meter)["mine_total", (("kind", "a"),)] == 3


def test_a_watched_gauge_is_read_at_each_scrape():
    meter = Meter()
    value = [1.0]
    meter.watch("butterfly_held_items", lambda: value[0], pipeline="traces")
    meter.watch("butterfly_uptime_seconds", lambda: value[0] * 10)
    assert scraped(meter)["butterfly_held_items", (("pipeline", "traces"),)] == 1
    value[0] = 7.0
    assert scraped(meter)["butterfly_held_items", (("pipeline", "traces"),)] == 7
    assert scraped(meter)["butterfly_uptime_seconds", ()] == 70


def test_gateways_do_not_share_instruments():
    first, second = Meter(), Meter()
    first.counter("butterfly_leaked_acks_total").inc()
    assert scraped(first)["butterfly_leaked_acks_total", ()] == 1
    second.counter("butterfly_leaked_acks_total")
    assert scraped(second)["butterfly_leaked_acks_total", ()] == 0


def test_a_given_registry_is_used():
    registry = CollectorRegistry()
    assert Meter(registry).registry is registry
