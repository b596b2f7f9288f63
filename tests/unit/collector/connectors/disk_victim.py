"""A process to be killed: appends, commits and keeps a journal, and says on stdout what it was promised.

append <number> <size>      record `number` is acknowledged; its content follows from its number
commit <position>           committed
journal <number>            blob `number` is durable
"""

import asyncio
import random
import sys
from pathlib import Path

from disk_logs import Counted, the_partition

from collector.api import Ack, Batch, Outcome


def payload(number):
    source = random.Random(number)
    return b"<%012d>" % number + source.randbytes(source.choice([20, 300, 5000, 40_000]))


async def main(directory, first, blob, options):
    connector = Counted(directory, **options)()
    await connector.start(())
    partition = the_partition(connector)
    say = sys.stdout.buffer

    def appended(number):
        def done(outcome, reason):
            assert outcome == Outcome.DELIVERED, reason
            say.write(b"append %d\n" % number)
            say.flush()

        return Ack(done)

    for number in range(first, first + 100_000):
        connector.append(Batch(payload(number), appended(number), count=1))
        if number % 5 == 0:
            await asyncio.sleep(0.001)
        if number % 20 == 0 and partition.end:
            await partition.journal(b"blob %d" % blob, 1, partition.end, 50)
            say.write(b"journal %d\n" % blob)
            blob += 1
            position = max(partition.committed, partition.end - 60)
            await partition.commit(position)
            say.write(b"commit %d\n" % position)
            say.flush()


if __name__ == "__main__":
    asyncio.run(
        main(
            Path(sys.argv[1]),
            int(sys.argv[2]),
            int(sys.argv[3]),
            {
                "segment_size": 500_000,
                "max_record_size": 64 << 10,
                "commit_interval": "1ms",
                "compression": sys.argv[4],
            },
        )
    )
