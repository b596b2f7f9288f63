import contextlib
import gzip
import zlib

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from receivers.otlp.decompress import ENCODINGS, MAX_MEMBERS, STEP, DamagedError, steps

COMPRESS = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstandard.ZstdCompressor(write_checksum=True).compress,
}


def whole(encoding, body):
    return b"".join(steps(encoding, body))


@given(st.sampled_from(ENCODINGS), st.binary(max_size=5000), st.integers(1, 500))
def test_what_was_compressed_comes_back(encoding, data, times):
    assert whole(encoding, COMPRESS[encoding](data * times)) == data * times


@given(st.sampled_from(["gzip", "zstd"]), st.lists(st.binary(max_size=300), min_size=1, max_size=5))
def test_members_that_follow_one_another_are_one_stream(encoding, parts):
    assert whole(encoding, b"".join(map(COMPRESS[encoding], parts))) == b"".join(parts)


@given(st.sampled_from(ENCODINGS), st.binary(max_size=300), st.data())
def test_no_prefix_passes_for_the_whole(encoding, data, draw):
    body = COMPRESS[encoding](data)
    cut = body[: draw.draw(st.integers(0, len(body) - 1))]
    with pytest.raises(DamagedError):
        whole(encoding, cut)


@given(st.sampled_from(ENCODINGS), st.binary(max_size=300), st.binary(min_size=1, max_size=20))
def test_junk_behind_the_stream_is_refused(encoding, data, junk):
    with pytest.raises(DamagedError):
        # 0xff begins no gzip member and no zstd frame
        whole(encoding, COMPRESS[encoding](data) + b"\xff" + junk)


@given(st.sampled_from(ENCODINGS), st.binary(max_size=400))
def test_anything_else_is_damaged_or_plain(encoding, body):
    with contextlib.suppress(DamagedError):
        assert isinstance(whole(encoding, body), bytes)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_bomb_comes_in_small_steps(encoding):
    assert max(map(len, steps(encoding, COMPRESS[encoding](bytes(20 << 20))))) <= STEP


def test_a_zstd_bomb_comes_in_steps_too():
    assert max(map(len, steps("zstd", COMPRESS["zstd"](bytes(64 << 20))))) <= 5 << 20


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_members_are_counted(encoding):
    empty = COMPRESS[encoding](b"")
    assert whole(encoding, empty * MAX_MEMBERS) == b""
    with pytest.raises(DamagedError, match="too many"):
        whole(encoding, empty * (MAX_MEMBERS + 1))


def test_a_window_beyond_8_mib_is_refused():
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=27)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    body = compressor.compress(b"x" * 1000) + compressor.flush()
    with pytest.raises(DamagedError):
        whole("zstd", body)
