"""Every durable connector against the one contract."""

import logging
import secrets

import pytest

from collector.api import BuildContext, Signal
from collector.connectors.disk import DiskConnector, DiskOptions
from collector.connectors.kafka import KafkaConnector, KafkaOptions
from collector.connectors.kafka.topics import create
from collector.testing.durable_connector import READERS, DurableConnectorContract


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compression": "gzip", "recent_bytes": 0},
        {"compression": "zstd", "synchronous": "full", "recent_bytes": 2000},
        {"segment_size": 64 << 10, "commit_interval": "0", "synchronous": "off", "recent_bytes": 0},
    ],
    ids=["default", "gzip", "zstd-full", "small"],
)
class TestDiskConnector(DurableConnectorContract):
    @pytest.fixture
    def log(self, tmp_path, options):
        directory = tmp_path / "disk"
        config = DiskOptions(directory=directory, **options)
        return lambda: DiskConnector(config, BuildContext("disk", logging.getLogger("disk"), readers=READERS))


@pytest.mark.parametrize("options", [{}, {"recent_bytes": 0}], ids=["default", "fetched-again"])
class TestKafkaConnector(DurableConnectorContract):
    @pytest.fixture
    async def log(self, kafka, options):
        mark = secrets.token_hex(4)
        config = KafkaOptions(
            brokers=kafka.bootstrap,
            group_id=f"contract-{mark}",
            partitions=1,
            traces={"topic": f"contract.{mark}.spans"},
            metrics={"topic": f"contract.{mark}.metrics"},
            logs={"topic": f"contract.{mark}.logs"},
            decisions_topic=f"contract.{mark}.decisions",
            quarantine_topic=f"contract.{mark}.quarantine",
            **options,
        )
        await create(config, Signal, READERS)
        return lambda: KafkaConnector(config, BuildContext("kafka", logging.getLogger("kafka"), readers=READERS))
