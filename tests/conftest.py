"""What every kind of test shares."""

import os

import pytest

from tests.servers.backend import ServerMissingError
from tests.servers.jaeger_server import Jaeger
from tests.servers.kafka_cluster import KafkaCluster, KafkaMissingError, kafka_jars
from tests.servers.loki_server import Loki
from tests.servers.prometheus_server import Prometheus
from tests.servers.victoria_logs_server import VictoriaLogs


def needed(make):
    """What `make` makes; skips what needs a server where there is none, or fails it where servers are required."""
    try:
        return make()
    except (KafkaMissingError, ServerMissingError) as reason:
        if os.environ.get("BUTTERFLY_REQUIRE_SERVERS") == "1":
            pytest.fail(str(reason))
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def kafka_here():
    """Skips or fails what needs Kafka where there is none."""
    needed(kafka_jars)


@pytest.fixture(scope="session")
def kafka(kafka_here, tmp_path_factory):
    """One plain broker, a `KafkaCluster`, for everybody: use topic names and group ids of your own, don't stop it."""
    with KafkaCluster(tmp_path_factory.mktemp("kafka")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory):
    """A running `Prometheus` 3 for one module, for remote write 1.0 and 2.0; who stops it starts it again."""
    with needed(lambda: Prometheus(tmp_path_factory.mktemp("prometheus"))) as server:
        yield server


@pytest.fixture(scope="module")
def prometheus_v1(tmp_path_factory):
    """The same from Debian, which takes remote write 1.0 alone."""
    with needed(lambda: Prometheus(tmp_path_factory.mktemp("prometheus-v1"), "prometheus-v1")) as server:
        yield server


@pytest.fixture(scope="module")
def victoria_logs(tmp_path_factory):
    """A running `VictoriaLogs` for one module; who stops it starts it again."""
    with needed(lambda: VictoriaLogs(tmp_path_factory.mktemp("victoria-logs"))) as server:
        yield server


@pytest.fixture(scope="module")
def loki(tmp_path_factory):
    """A running `Loki` 2.2.1 for one module; who stops it starts it again."""
    with needed(lambda: Loki(tmp_path_factory.mktemp("loki"))) as server:
        yield server


@pytest.fixture(scope="module")
def jaeger(tmp_path_factory):
    """A running `Jaeger` for one module; who stops it starts it again, empty."""
    with needed(lambda: Jaeger(tmp_path_factory.mktemp("jaeger"))) as server:
        yield server
