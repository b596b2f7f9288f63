"""What every kind of test shares."""

import os

import pytest

from tests.servers.kafka_cluster import KafkaCluster, KafkaMissingError, kafka_jars


@pytest.fixture(scope="session")
def kafka_here():
    """Skips what needs Kafka where there is none, or fails it where servers are required."""
    try:
        kafka_jars()
    except KafkaMissingError as reason:
        if os.environ.get("BUTTERFLY_REQUIRE_SERVERS") == "1":
            pytest.fail(str(reason))
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def kafka(kafka_here, tmp_path_factory):
    """One plain broker, a `KafkaCluster`, for everybody: use topic names and group ids of your own, don't stop it."""
    with KafkaCluster(tmp_path_factory.mktemp("kafka")) as cluster:
        yield cluster
