"""Logs of the disk connector for tests: traces with one reader, in a directory, with the metrics at hand."""

import asyncio
import logging
import shutil

from collector.api import BuildContext, Meter, Signal
from collector.connectors.disk import DiskConnector, DiskOptions
from collector.testing.durable_connector import READERS, append


class Counted:
    """Makes connectors on one directory; each has a meter of its own, the newest is `meter`."""

    def __init__(self, directory, **options):
        self.directory = directory
        self.options = {"compression": "none"} | options
        self.clocks = {}
        self.readers = READERS[:1]
        self.signals = frozenset({Signal.TRACES})
        self.meter = Meter()

    def __call__(self):
        self.meter = Meter()
        context = BuildContext(
            "disk", logging.getLogger("disk"), self.meter, signals=self.signals, readers=self.readers
        )
        return DiskConnector(DiskOptions(directory=self.directory, **self.options), context, **self.clocks)

    def counted(self, name, **labels):
        """The samples with these labels, summed over the others."""
        return sum(
            sample.value
            for family in self.meter.registry.collect()
            for sample in family.samples
            if sample.name == name and ({"connector": "disk"} | labels).items() <= sample.labels.items()
        )

    def lost(self, **labels):
        return self.counted("butterfly_log_lost_records_total", **labels)

    def files(self, *suffixes):
        found = (path for path in self.directory.rglob("*") if not path.is_dir())
        return sorted(path for path in found if path.name.endswith(suffixes or ""))


async def until(holds):
    """Wait for what the log's threads do in their own time."""
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.002)


def partition_of(connector, reader):
    """That of a reader, whether somebody reads or not."""
    return connector._logs[reader.signal].partitions[reader.name]


async def crash_image(log, target, *, fill):
    """A copy of the log's directory as a kill -9 would leave it after `fill(connector, partition)`."""
    connector = log()
    await connector.start(())
    await fill(connector, partition_of(connector, READERS[0]))
    shutil.copytree(log.directory, target, ignore=lambda *_: [])
    await connector.stop()


async def append_one_by_one(connector, payloads):
    """One record each."""
    for payload in payloads:
        await append(connector, [payload])
