"""Reading up to a batch that can't be read, and no further.

aiokafka raises for a batch that is damaged (its checksum differs, it doesn't unpack), and what it had read by then for
the same call is gone: the records before the damage, and those of every other partition of the call. So they are read
once more, one at a time.
"""

from __future__ import annotations

import struct
from gzip import BadGzipFile
from typing import TYPE_CHECKING

from aiokafka.errors import ConsumerStoppedError, CorruptRecordException, KafkaError
from aiokafka.protocol.fetch import FetchRequest

if TYPE_CHECKING:
    from aiokafka import AIOKafkaConsumer, ConsumerRecord
    from aiokafka.structs import TopicPartition

POLL_MS = 200
POLL_RECORDS = 2000
"""Made of a batch at once, however many a hostile one may hold; ours are large, and few."""
MAX_BYTES = 2 << 20

_HEADER = struct.Struct(">qiibIhi")
"""Of a batch: first offset, length, leader's epoch, version, checksum, attributes, last offset less the first one."""
_VERSION = 2
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


async def end_of_batch(consumer: AIOKafkaConsumer, tp: TopicPartition, position: int) -> int:
    """The offset behind the batch that begins at or before `position`, where a look at what follows confirms it.

    Otherwise the offset behind `position`. A batch may hold a million records, which would take as many fetches.
    """
    try:
        header, end = await _batch_at(consumer, tp, position)
        if header is not None and header[0] <= position and header[3] == _VERSION:
            behind = header[0] + header[-1] + 1
            if position < behind < end:
                header, _ = await _batch_at(consumer, tp, behind)
                if header is not None and header[0] == behind:
                    return behind
            elif behind == end:
                return behind
    except KafkaError:
        pass  # the next fetch will tell
    return position + 1


async def _batch_at(consumer: AIOKafkaConsumer, tp: TopicPartition, offset: int) -> tuple[tuple[int, ...] | None, int]:
    """The header of the batch with `offset`, and where the partition ends. aiokafka gives headers to nobody."""
    client = consumer._client  # noqa: SLF001 - nothing public sends a request
    request = FetchRequest(POLL_MS, 1, 1, 0, [(tp.topic, [(tp.partition, offset, 1)])])
    answer = await client.send(client.cluster.leader_for_partition(tp), request)
    ((_, ((_, code, end, *_, content),)),) = answer.topics
    readable = code == 0 and content is not None and len(content) >= _HEADER.size
    return (_HEADER.unpack_from(content) if readable else None), end
