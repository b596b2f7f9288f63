"""Everything else that is given a request's bytes or text: JSON, views, the sampler's rewriting, Kafka's partitions.

On what protobuf accepts the results are held to protobuf's; on anything else they must refuse cleanly. Under the
sanitizers a read or write out of bounds ends the process.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING

import mmh3
import numpy as np

from collector.wire.json_read import from_json
from collector.wire.json_write import to_json, write_json
from collector.wire.partition import partition_logs, partition_metrics, partition_spans
from collector.wire.rewrite import UNKNOWN_THRESHOLD, replace_spans, sample
from collector.wire.scan import Malformed, SpanIndex, scan
from collector.wire.view import views
from tests.fuzz import oracle

if TYPE_CHECKING:
    import random

STATES = ("", "ot=th:8;rv:0123456789abcd,k=v", "ot=th:0", "k=" + "x" * 300, "ot=", "=,;:", "ot=th:8,ot=th:4")
JSON_BITS = (
    b"", b"null", b"[", b"]", b"{", b"}", b",", b":", b'"', b"\\", b"\\u", b"\\ud800", b"\\ud83d\\ude00", b"\xff",
    b"\x00", b"-", b"0", b"1e999", b"1e-999", b"18446744073709551616", b"9" * 400, b"0." + b"3" * 400, b'"NaN"', b"NaN",
    b"true", b"[" * 300, b'{"a":' * 300, b'"spans":[', b'"kvlistValue":{"values":[', b'"bytesValue":"=="', b" " * 50,
    b'"traceId":"0"',
)  # fmt: skip
NOT_ATTRIBUTES = (None, 2**70, b"\xff", [1, [2]], {"a": {"b": 1.5}})


def rewritten(rnd: random.Random, payload: bytes, index: SpanIndex) -> tuple[bytes, np.ndarray]:
    mask = np.array([rnd.random() < 0.7 for _ in range(index.count)], np.bool_)
    limits = (0, 1, 1 << 55, (1 << 56) - 1, UNKNOWN_THRESHOLD)
    thresholds = np.array([rnd.choice(limits) for _ in range(index.count)], np.uint64)
    suffix = np.array([rnd.randrange(-1, 2) for _ in range(index.count)], np.int16)
    return sample(payload, index, mask, thresholds, (b"\x4a\x00", b"\x4a\x03\x0a\x01k"), suffix), mask


def touch(rnd: random.Random, payload: bytes, index: SpanIndex) -> bytes:
    """Read every field of some views, change some, and put them back."""
    edits = {}
    seen = views(payload, index)
    for view in rnd.sample(seen, min(len(seen), 3)):
        _ = (view.name, view.status_code, view.status_message, view.kind, view.trace_state, view.trace_id, view.span_id,
             view.parent_span_id, view.start_time_unix_nano, view.event_names)  # fmt: skip
        for attributes in (view.attributes, view.resource):
            _ = [attributes[key] for key in attributes]
        if rnd.random() < 0.5:
            view.name = rnd.choice(("", "renamed", "\u20ac" * 50))
        if rnd.random() < 0.5:
            view.trace_state = rnd.choice(STATES)
        if rnd.random() < 0.5:
            with suppress(TypeError, ValueError):
                view.attributes[rnd.choice(("", "k", "peer"))] = rnd.choice(NOT_ATTRIBUTES)
        for key in list(view.attributes)[:1]:
            del view.attributes[key]
        if view.changed:
            edits[view.row] = view.to_bytes()
    return replace_spans(payload, index, edits)


def partitioned(rnd: random.Random, payload: bytes, index: SpanIndex) -> None:
    """Split it, and look for every span where its trace id belongs; requests of other signals have the same shape."""
    partitions, limit = rnd.choice((2, 3, 50)), rnd.choice((1, 300, 1 << 30))
    found = 0
    for partition, part, leaves in partition_spans(payload, partitions, limit):
        request = oracle.parse(part)
        assert request is not None, "a part is not a request"
        spans = [span for _, _, _, span in oracle.spans(request)]
        assert len(spans) == leaves, "a part says that it holds another number of spans"
        for span in spans:
            assert mmh3.hash(span.trace_id, signed=False) % partitions == partition, "a span is in another's partition"
        found += leaves
    assert found == index.count, "the parts hold other spans"
    with suppress(Malformed):  # spans aren't metrics, and one may look broken where they have their points
        partition_metrics(payload, partitions, limit)
    assert sum(leaves for _, _, leaves in partition_logs(payload, partitions, limit)) == found


def use_good(rnd: random.Random, payload: bytes) -> bytes:
    """Raises AssertionError where something that protobuf accepts isn't handled; gives its JSON."""
    index = scan(payload)
    partitioned(rnd, payload, index)
    kept, mask = rewritten(rnd, payload, index)
    request = oracle.parse(kept)
    assert request is not None, "what sample gives is not a request"
    assert sum(1 for _ in oracle.spans(request)) == int(np.count_nonzero(mask)), "sample keeps other spans"
    with suppress(Malformed):  # values may be nested deeper than a view decodes
        assert oracle.parse(touch(rnd, payload, index)) is not None, "what views give is not a request"
    text = to_json(payload)
    pieces: list[bytes] = []
    write_json(payload, pieces.append)
    assert b"".join(pieces) == text, "the pieces differ from the whole"
    json.loads(text)
    with suppress(Malformed):  # ids of other lengths, deep values
        back = oracle.parse(from_json(text))
        assert back is not None, "what from_json gives is not a request"
        assert sum(1 for _ in oracle.spans(back)) == index.count, "the JSON has other spans"
    return text


def use_damaged(rnd: random.Random, payload: bytes) -> None:
    """Bytes that protobuf refuses: what trusts its input must still stay within it."""
    with suppress(Malformed):
        to_json(payload)
    for split in (partition_spans, partition_logs, partition_metrics):
        with suppress(Malformed):
            split(payload, rnd.choice((1, 3, 50)), rnd.choice((1, 300, 1 << 30)))
    with suppress(Malformed, ValueError):
        index = scan(payload)
        rewritten(rnd, payload, index)
        touch(rnd, payload, index)
    # An index of other bytes, as after a mistake of ours
    with suppress(Malformed, ValueError):
        index = scan(payload)
        rewritten(rnd, payload[: rnd.randrange(len(payload) + 1)], index)
        touch(rnd, payload[: rnd.randrange(len(payload) + 1)], index)


def read_json(rnd: random.Random, text: bytes, other: bytes) -> bool:
    """Whether a damaged text is read all the same; what is read is JSON, and protobuf accepts what it becomes."""
    out = bytearray(text[:20_000])
    for _ in range(rnd.choice((0, 1, 1, 2, 4))):
        at = rnd.randrange(len(out) + 1)
        begin = rnd.randrange(len(other) + 1)
        out[at : at + rnd.randrange(4)] = rnd.choice((*JSON_BITS, other[begin : begin + rnd.randrange(60)]))
    try:
        payload = from_json(bytes(out))
    except Malformed:
        return False
    json.loads(out)
    assert oracle.parse(payload) is not None, f"from_json gives what is not a request, for {bytes(out).hex()}"
    return True
