"""A label that nobody should have, at the gateway of configs/gateway.yaml with a real Prometheus behind it: the limit
holds, sums stay exact, memory stays flat, and whoever looks for the culprit finds it."""

import json
import time

import pytest
from pillars import three_pillars
from traffic import Sending

from bench.generator.explosion import PREFIX, ExplosionRequest
from bench.generator.metric_shape import MetricShape
from bench.ledger import Outcome
from tests.conftest import needed
from tests.servers.prometheus_server import Prometheus

OFFENDER, LABEL = "butterfly.session.requests", "session.id"
STORED = "butterfly_session_requests_total"


@pytest.fixture
def prometheus(tmp_path):
    with needed(lambda: Prometheus(tmp_path / "prometheus", out_of_order="10m")) as server:
        yield server


def number(prometheus, promql):
    found = prometheus.query(promql, time.time() + 60)
    return float(found[0]["value"][1]) if found else 0.0


def total(sending):
    """What all sessions together have come to: in round n each reached n + 1."""
    last = {}
    for (number, index), (outcome, _, _) in sending.ledger.reports.items():
        if outcome is Outcome.ACKED and isinstance(sending.traffic.metrics.requests[index], ExplosionRequest):
            last[index] = max(last.get(index, 0), number + 1)
    return sum(reached * len(sending.traffic.metrics.requests[index]) for index, reached in last.items())


def explode(folder, prometheus, *, sessions, limit, growth, **pace):
    """Send it; everything is checked here. `growth`: bytes that the gateway may grow by after the first quarter."""

    def limited(config):
        limits = {"max_series": 10 * limit, "max_series_per_metric": limit}
        config["processors"]["cardinality_limiter"] = limits
        config["processors"]["memory_limiter"]["limit_mib"] = 2048
        config["processors"]["exemplar_linker"] = {"max_wait": "1s"}

    with three_pillars(folder, prometheus.port, 1, 1, change=limited) as gateway:
        metrics = MetricShape(series=600, batch=1000, explode=sessions)
        sending = Sending(gateway.grpc, seed=41, cycle=1500, metrics=metrics, rate=200, **pace)
        sizes = []
        while sending.running:
            time.sleep(0.2)
            sizes.append(gateway.rss())
        tally = sending.join()
        assert tally.signals["metrics"].acked == tally.signals["metrics"].sent > 2 * sessions
        began = time.monotonic()
        while gateway.metric("butterfly_held_items", pipeline="metrics/export") and time.monotonic() - began < 60:
            time.sleep(0.1)
        wanted = total(sending)
        while (found := number(prometheus, f"sum(last_over_time({STORED}[2h]))")) < wanted:
            assert time.monotonic() - began < 120, f"{found} of {wanted}"
            time.sleep(0.2)
        assert found == wanted >= 2 * sessions
        series = number(prometheus, f"count(last_over_time({STORED}[2h]))")
        overflow = number(prometheus, f'count(last_over_time({STORED}{{otel_metric_overflow="true"}}[2h]))')
        assert series - overflow == limit
        assert 0 < overflow <= sending.traffic.shape.senders
        head = prometheus.metric("prometheus_tsdb_head_series")
        ours = number(prometheus, 'count({__name__=~".+"})')
        assert head < limit + 10_000
        report = json.loads(gateway.get("/report/cardinality_limiter")[1])
        worst = report["reports"][0]["offenders"][0]
        assert worst["metric"] == OFFENDER
        assert PREFIX not in json.dumps(report)
        refused = gateway.metric("butterfly_cardinality_refused_points_total", limit="max_series_per_metric")
        assert refused > sessions
        grew = max(sizes[len(sizes) // 4 :]) - sizes[len(sizes) // 4]
        print(
            f"\n{tally.signals['metrics'].sent:,} points of {sessions:,} sessions, {refused:,.0f} refused; Prometheus: "
            f"{head:,.0f} series in its head ({ours:,.0f} live), {series:,.0f} of the metric, sum {found:,.0f}; "
            f"gateway {sizes[-1] >> 20} MiB, grew by {grew >> 20} MiB; {worst}"
        )
        assert grew < growth
        assert gateway.metric("butterfly_leaked_acks_total") == 0


def test_an_explosion_stays_within_the_limit(tmp_path, prometheus):
    explode(tmp_path, prometheus, sessions=20_000, limit=500, growth=64 << 20, points=30_000, duration=3.0)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_five_million_series(tmp_path, prometheus):
    # What is folded is remembered, so that sums are exact: 80 bytes a session, 400 MB of them.
    pace = {"points": 200_000, "duration": 75.0, "drain": 120.0}
    explode(tmp_path, prometheus, sessions=5_000_000, limit=100_000, growth=512 << 20, **pace)
