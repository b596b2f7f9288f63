"""Batches inflate as aiokafka inflates them, up to a limit."""

import os
import tracemalloc

import pytest
from aiokafka import codec
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

from collector.connectors.kafka.inflating import _REPLACED, LEAST_LIMIT, bound

ENCODERS = {
    "gzip": codec.gzip_encode,
    "snappy": codec.snappy_encode,
    "lz4": codec.lz4_encode,
    "zstd": codec.zstd_encode,
}
NUMBERS = {"gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
CONTENTS = [b"", b"a", b"butterfly " * 10_000, os.urandom(100_000), bytes(LEAST_LIMIT)]


@pytest.mark.parametrize("name", ENCODERS)
def test_what_was_compressed_comes_back(name):
    for content in CONTENTS:
        assert _REPLACED[f"{name}_decode"](ENCODERS[name](content)) == content


def test_raw_snappy_comes_back():
    content = b"butterfly " * 1000
    assert _REPLACED["snappy_decode"](codec.snappy_encode(content, xerial_compatible=False)) == content


@pytest.mark.parametrize("name", ENCODERS)
def test_more_than_the_limit_is_refused_within_bounded_memory(name):
    bomb = ENCODERS[name](bytes(LEAST_LIMIT * 8))
    tracemalloc.start()
    with pytest.raises(CorruptRecordException):
        _REPLACED[f"{name}_decode"](bomb)
    assert tracemalloc.get_traced_memory()[1] < LEAST_LIMIT + 2 * len(bomb) + 100_000
    tracemalloc.stop()


@pytest.mark.parametrize("name", ENCODERS)
def test_garbage_is_refused(name):
    whole = ENCODERS[name](os.urandom(1000))
    for garbage in (b"\xff" * 100, whole[:-40]):
        with pytest.raises(CorruptRecordException):
            _REPLACED[f"{name}_decode"](garbage)


@pytest.mark.parametrize("name", ENCODERS)
def test_aiokafka_inflates_with_them(name):
    bound(0)

    def batch(value):
        builder = DefaultRecordBatchBuilder(2, NUMBERS[name], 0, -1, -1, -1, 1 << 30)
        builder.append(0, 0, None, value, [])
        return DefaultRecordBatch(bytes(builder.build()))

    assert [record.value for record in batch(bytes(1000))] == [bytes(1000)]
    with pytest.raises(CorruptRecordException):
        list(batch(bytes(LEAST_LIMIT + 1)))
