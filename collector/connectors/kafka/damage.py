"""Reading up to a batch that can't be read, and no further.

aiokafka raises for a batch that is damaged (its checksum differs, it doesn't unpack), and what it had read by then for
the same call is gone: the records before the damage, and those of every other partition of the call. So they are read
once more, one at a time.
"""

from __future__ import annotations

from gzip import BadGzipFile
from typing import TYPE_CHECKING

from aiokafka.errors import ConsumerStoppedError, CorruptRecordException, KafkaError

if TYPE_CHECKING:
    from aiokafka import AIOKafkaConsumer, ConsumerRecord
    from aiokafka.structs import TopicPartition

POLL_MS = 200
MAX_BYTES = 2 << 20

_OTHERWISE = (KafkaError, ConsumerStoppedError, OSError, TimeoutError)


def is_damage(error: Exception) -> bool:
    """Whether it says that bytes can't be read; a decompressor or decoder may raise anything then."""
    return isinstance(error, CorruptRecordException | BadGzipFile) or not isinstance(error, _OTHERWISE)


async def read_up_to_damage(
    consumer: AIOKafkaConsumer, tp: TopicPartition, position: int
) -> tuple[list[ConsumerRecord[bytes, bytes]], bool]:
    """Records from `position` on, as many as are there and no more than `MAX_BYTES` need; and whether damage follows.

    Raises what `getmany` raises that isn't damage.
    """
    consumer.seek(tp, position)
    records: list[ConsumerRecord[bytes, bytes]] = []
    size = 0
    while size < MAX_BYTES:
        try:
            found = await consumer.getmany(tp, timeout_ms=0 if records else POLL_MS, max_records=1)
        except Exception as error:
            if not is_damage(error):
                raise
            return records, True
        if not found:
            break
        (record,) = found[tp]
        records.append(record)
        size += len(record.value or b"") + 1
    return records, False
