"""Every durable connector against the one contract."""

import logging

import pytest

from collector.api import BuildContext
from collector.connectors.disk import DiskConnector, DiskOptions
from collector.testing.durable_connector import DurableConnectorContract


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
        return lambda: DiskConnector(config, BuildContext("disk", logging.getLogger("disk")))
