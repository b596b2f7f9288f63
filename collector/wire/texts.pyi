import numpy as np
from numpy.typing import NDArray

def find_text(
    payload: bytes, offset: NDArray[np.uint32], length: NDArray[np.uint32], field: int, key: bytes
) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """For each message body `payload[offset:offset + length]`: where the text of its attribute `key` is, and how long.

    `field` is the number of the message's repeated `KeyValue` field (9 in a Span, 6 in a LogRecord, 1 in a Resource). Of
    repeated keys the last counts. Length 0: the attribute isn't there, or holds no string, or an empty one.
    Raises `Malformed`, and `ValueError` when the columns don't fit the payload.
    """

def find_field(
    payload: bytes, offset: NDArray[np.uint32], length: NDArray[np.uint32], field: int
) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """For each message body: where the content of its last string, bytes or message field of this number is, and how
    long; length 0 where there is none. Raises as `find_text`.
    """

def resource_bodies(payload: bytes) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Where the `Resource` of each `ResourceSpans`, `ResourceMetrics` or `ResourceLogs` is, and how long; length 0 where
    there is none. Of a repeated one, whose parts protobuf would merge, the last. Raises `Malformed`.
    """
