"""A process to be killed: appends, commits and keeps journals, and says on stdout what it was promised.

append <signal> <number>     record `number` is acknowledged; its content follows from its number
commit <reader> <position>   committed
journal <reader> <number>    blob `number` of that reader is durable

Of the readers of the traces, one is far behind the other.
"""

import asyncio
import json
import random
import sys
from pathlib import Path

from disk_logs import Counted, partition_of

from collector.api import Ack, Batch, Outcome, Signal
from collector.testing.durable_connector import READERS

BEHIND = dict(zip(READERS[:3], (60, 600, 40), strict=True))


def payload(number):
    source = random.Random(number)
    return b"<%012d>" % number + source.randbytes(source.choice([20, 300, 5000, 40_000]))


def signal_of(number):
    return Signal.METRICS if number % 4 == 0 else Signal.TRACES


def victims_log(directory, **options):
    log = Counted(directory, **options)
    log.readers = tuple(BEHIND)
    log.signals = frozenset({Signal.TRACES, Signal.METRICS})
    return log


async def main(directory, first, blobs, options):
    connector = victims_log(directory, **options)()
    await connector.start(())
    say = sys.stdout.buffer

    def appended(number):
        def done(outcome, reason):
            assert outcome == Outcome.DELIVERED, reason
            say.write(b"append %s %d\n" % (signal_of(number).value.encode(), number))
            say.flush()

        return Ack(done)

    async def settle(reader):
        partition = partition_of(connector, reader)
        if partition.end:
            number = blobs[reader.name]
            await partition.journal(b"blob %d" % number, 1, partition.end, 50)
            say.write(b"journal %s %d\n" % (reader.name.encode(), number))
            blobs[reader.name] = number + 1
            position = max(partition.committed, partition.end - BEHIND[reader])
            await partition.commit(position)
            say.write(b"commit %s %d\n" % (reader.name.encode(), position))
            say.flush()

    for number in range(first, first + 100_000):
        connector.append(Batch(payload(number), appended(number), signal=signal_of(number), count=1))
        if number % 5 == 0:
            await asyncio.sleep(0.001)
        if number % 20 == 0:
            await asyncio.gather(*(settle(reader) for reader in BEHIND))


if __name__ == "__main__":
    asyncio.run(
        main(
            Path(sys.argv[1]),
            int(sys.argv[2]),
            json.loads(sys.argv[3]),
            {
                "segment_size": 500_000,
                "max_record_size": 64 << 10,
                "commit_interval": "1ms",
                "compression": sys.argv[4],
            },
        )
    )
