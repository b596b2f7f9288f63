"""Brokers that are away: the gateway lives, isn't ready, tells senders to come again, and goes on by itself."""

import threading
import time
import urllib.error
import urllib.request

import pytest
from kafka_tiers import INGEST, SAMPLE, Load, Tiers
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.servers.kafka_cluster import KafkaCluster

READY_WITHIN_S = 5.0
ANSWER_WITHIN_S = 5.5
MAX_RSS = 300 << 20
WAIT_S = 12
"""Longer than brokers take to agree on another leader, and the senders' backoff after it."""


@pytest.fixture(scope="module")
def own_broker(kafka_here, tmp_path_factory):
    """One broker that may be stopped."""
    with KafkaCluster(tmp_path_factory.mktemp("kafka")) as cluster:
        yield cluster


class Knocking:
    """Asks an ingest process over and over, and notes how it is answered. `stop` ends it."""

    def __init__(self, gateway):
        self.answers = []
        self._url = f"http://{gateway.http}/v1/traces"
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._knock, daemon=True)
        self._thread.start()

    def _knock(self):
        request = urllib.request.Request(self._url, never_kept(), {"content-type": "application/x-protobuf"})
        while not self._stopped.wait(0.2):
            began = time.monotonic()
            try:
                with urllib.request.urlopen(request, timeout=20) as reply:
                    status, after = reply.status, ""
            except urllib.error.HTTPError as error:
                status, after = error.code, error.headers.get("retry-after", "")
            self.answers.append((status, after, time.monotonic() - began))

    def stop(self):
        self._stopped.set()
        self._thread.join(25)
        assert not self._thread.is_alive()


def never_kept():
    """A request with one ordinary span, whose trace id is below every threshold: the comparison never meets it."""
    request = ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add()
    span.trace_id, span.span_id, span.name = b"\x01" * 9 + bytes(7), b"\x02" * 8, "knock"
    span.start_time_unix_nano, span.end_time_unix_nano = 1, 2
    return request.SerializeToString()


def one_of_each(tiers):
    ingest = [tiers.member("ingest-1", INGEST)]
    tiers.member("sampler-1", SAMPLE)
    tiers.make_topics()
    return ingest


def live_but_not_ready(tiers):
    for name in tiers.running():
        member = tiers.members[name]
        status, why = member.answer("/readyz")
        assert member.answer("/livez")[0] == 200
        assert status == 503
        assert "kafka" in why


def ready_again(tiers):
    return max(tiers.members[name].wait_ready(within=15) for name in tiers.running())


def taken_in_and_read(tiers, load, rate):
    """Seconds until half a second's worth of what is sent from now on is acknowledged, and read by the samplers."""
    began, sent = time.monotonic(), load.sent
    tiers.until(lambda: load.acked > sent + rate / 2, "taken in again")
    tiers.caught_up()
    return time.monotonic() - began


def test_a_broker_that_is_down_at_the_start_is_no_error(tmp_path, own_broker):
    with Tiers(tmp_path, own_broker.bootstrap, decision_wait="1s") as tiers:
        ingest = one_of_each(tiers)
        own_broker.kill()
        for member in tiers.members.values():
            member.start(wait=False)
        tiers.until(lambda: all(each.get("/livez")[0] == 200 for each in tiers.members.values()), "live")
        time.sleep(4)  # longer than a start waits for a first look at the topics
        tiers.until(lambda: all("kafka" in each.get("/readyz")[1] for each in tiers.members.values()), "started")
        live_but_not_ready(tiers)
        knocking = Knocking(ingest[0])
        tiers.until(lambda: len(knocking.answers) > 3, "answered")
        knocking.stop()
        own_broker.start()
        took = ready_again(tiers)
        tiers.recovery()
        load = Load(ingest, rate=2000)
        tiers.until(lambda: load.sent > 4000, "sent")
        load.stop()
        tiers.finish()
        report = load.report(tiers.kept_files(), wait=1)
    print(f"\nready {took:.1f} s after the broker\n{load.told(report)}")
    assert {status for status, *_ in knocking.answers} == {503}
    assert all(after.isdigit() for _, after, _ in knocking.answers)
    assert took < READY_WITHIN_S
    assert report.holds


def broker_stopped(tmp_path, cluster, *, down_s, rate, wait_s):
    with Tiers(tmp_path, cluster.bootstrap, decision_wait=f"{wait_s}s") as tiers:
        ingest = one_of_each(tiers)
        tiers.start()
        tiers.recovery()
        load = Load(ingest, rate=rate)
        tiers.until(lambda: load.sent > 2 * rate, "sent")
        knocking = Knocking(ingest[0])
        cluster.kill()
        began, rss = time.monotonic(), 0
        while time.monotonic() < began + down_s:
            time.sleep(0.2)
            rss = max(rss, *(each.rss() for each in tiers.members.values()))
            if time.monotonic() > began + 6:
                live_but_not_ready(tiers)
        cluster.start()
        ready = ready_again(tiers)
        recovery = ready + taken_in_and_read(tiers, load, rate)
        knocking.stop()
        load.stop()
        tiers.finish(within=wait_s + 40.0)
        report = load.report(tiers.kept_files(), wait=wait_s)
    slowest = max(took for *_, took in knocking.answers)
    told_no = [(status, after) for status, after, _ in knocking.answers if status != 200]
    print(f"\nready {ready:.1f} s and caught up {recovery:.1f} s after the broker; {len(told_no)} of")
    print(f"{len(knocking.answers)} told to come again, within {slowest:.1f} s; peak RSS {rss / 2**20:.0f} MiB")
    print(load.told(report))
    assert report.holds
    assert told_no
    assert all(status == 503 and after.isdigit() for status, after in told_no)
    assert slowest < ANSWER_WITHIN_S
    assert load.statuses() == {"UNAVAILABLE"}
    assert ready < READY_WITHIN_S
    assert rss < MAX_RSS


def test_a_broker_that_dies_and_comes_back(tmp_path, own_broker):
    # Longer than the broker is away and the senders' backoff after it.
    broker_stopped(tmp_path, own_broker, down_s=8, rate=2000, wait_s=20)


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_a_broker_that_is_away_for_a_minute(tmp_path, own_broker):
    broker_stopped(tmp_path, own_broker, down_s=60, rate=20_000, wait_s=90)


def lose_brokers(tmp_path, cluster, *, losses, rate, pause_s):
    """Brokers are killed and started again in turn, under load."""
    safe = {"topics": {"replication_factor": 3, "min_insync_replicas": 2}}
    with Tiers(tmp_path, cluster.bootstrap, kafka=safe, decision_wait=f"{WAIT_S}s") as tiers:
        ingest = one_of_each(tiers)
        tiers.start()
        tiers.recovery()
        load = Load(ingest, rate=rate)
        tiers.until(lambda: load.sent > 2 * rate, "sent")
        recoveries = []
        for number in range(losses):
            node = cluster.running()[number % 3]
            cluster.kill(node)
            recoveries.append(taken_in_and_read(tiers, load, rate))
            time.sleep(pause_s)
            cluster.start(node)
            time.sleep(pause_s)
        load.stop()
        tiers.finish()
        report = load.report(tiers.kept_files(), wait=WAIT_S)
    print(f"\n{losses} brokers lost, slowest recovery {max(recoveries):.1f} s\n{load.told(report)}")
    assert report.holds
    assert max(recoveries) < 15


@pytest.fixture
def three_brokers(kafka_here, tmp_path):
    with KafkaCluster(tmp_path / "kafka", brokers=3) as cluster:
        yield cluster


def test_of_three_brokers_one_may_be_lost(tmp_path, three_brokers):
    lose_brokers(tmp_path, three_brokers, losses=1, rate=2000, pause_s=1)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_three_brokers_killed_in_turn(tmp_path, three_brokers):
    lose_brokers(tmp_path, three_brokers, losses=12, rate=20_000, pause_s=10)
