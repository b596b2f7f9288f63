"""Logs of the disk connector for tests: in a directory, with the metrics at hand."""

import logging
import shutil

from collector.api import BuildContext, Meter
from collector.connectors.disk import DiskConnector, DiskOptions
from collector.testing.durable_connector import append


class Counted:
    """Makes connectors on one directory; each has a meter of its own, the newest is `meter`."""

    def __init__(self, directory, **options):
        self.directory = directory
        self.options = {"compression": "none"} | options
        self.clocks = {}
        self.meter = Meter()

    def __call__(self):
        self.meter = Meter()
        context = BuildContext("disk", logging.getLogger("disk"), self.meter)
        return DiskConnector(DiskOptions(directory=self.directory, **self.options), context, **self.clocks)

    def counted(self, name, **labels):
        return self.meter.registry.get_sample_value(name, {"connector": "disk", **labels}) or 0

    def lost(self):
        return sum(
            sample.value
            for family in self.meter.registry.collect()
            for sample in family.samples
            if sample.name == "butterfly_log_lost_records_total"
        )

    def files(self, *suffixes):
        return sorted(path for path in self.directory.iterdir() if path.name.endswith(suffixes or ""))


async def crash_image(log, target, *, fill):
    """A copy of the log's directory as a kill -9 would leave it after `fill(connector, partition)`."""
    connector = log()
    await connector.start(None)
    await fill(connector, connector._log)
    shutil.copytree(log.directory, target, ignore=lambda *_: [])
    await connector.stop()


async def append_one_by_one(connector, payloads):
    """One record each."""
    for payload in payloads:
        await append(connector, [payload])
