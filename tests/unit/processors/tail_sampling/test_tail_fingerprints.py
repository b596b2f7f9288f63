import mmh3
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from processors.tail_sampling.fingerprints import Fingerprints, fingerprint


@given(data=st.binary(max_size=100), seed=st.integers(0, 2**32 - 1))
def test_murmur_is_the_one_everybody_has(data, seed):
    assert fingerprint(data, seed) == mmh3.hash64(data, seed, x64arch=True, signed=False)


def drop(copies, *spans):
    payload = b"".join(spans)
    length = np.array([len(span) for span in spans], np.uint32)
    offset = np.concatenate([[0], np.cumsum(length)[:-1]]).astype(np.uint32)
    mask = np.ones(len(spans), np.uint8)
    dropped = copies.drop_seen(payload, offset, length, mask)
    assert dropped == len(spans) - mask.sum()
    return mask.tolist()


def test_copies_are_found_within_a_record_and_across_two_generations():
    copies = Fingerprints(1000)
    assert drop(copies, b"a", b"b", b"a") == [1, 1, 0]
    copies.rotate()
    assert drop(copies, b"b", b"c") == [0, 1]
    copies.rotate()
    assert drop(copies, b"a", b"c", b"b") == [1, 0, 1]
    copies.clear()
    assert len(copies) == 0
    assert drop(copies, b"c") == [1]


def test_a_full_generation_is_rotated_so_that_memory_is_bounded():
    copies = Fingerprints(1000)
    for number in range(50):
        drop(copies, *(f"{number} {i}".encode() for i in range(100)))
    assert len(copies) <= 2000
    assert copies.memory <= 2 * 2048 * 16
    assert drop(copies, b"49 99", b"0 0") == [0, 1]


def test_rows_that_are_not_chosen_or_lie_outside_are_left_alone():
    copies = Fingerprints(10)
    mask = np.array([0, 1, 1], np.uint8)
    offset, length = np.array([0, 0, 2], np.uint32), np.array([2, 2, 9], np.uint32)
    assert copies.drop_seen(b"xyz", offset, length, mask) == 0
    assert copies.drop_seen(b"xyz", offset, length, mask) == 1
    assert mask.tolist() == [0, 0, 1]
