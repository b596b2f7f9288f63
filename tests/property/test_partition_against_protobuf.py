"""Splitting by partition on the bytes gives what protobuf and mmh3 say it should, to the byte."""

from __future__ import annotations

from collections import defaultdict
from itertools import groupby, pairwise
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

import mmh3
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from otlp_messages import REQUESTS, UNKNOWN, random_request, untidy, varint

from collector.wire import partition_logs, partition_metrics, partition_spans

if TYPE_CHECKING:
    from collections.abc import Callable

SPLIT: dict[str, Callable[[bytes, int, int], list[tuple[int, bytes, int]]]] = {
    "traces": partition_spans,
    "logs": partition_logs,
    "metrics": partition_metrics,
}
LEAVES: dict[str, Any] = {"traces": Span, "logs": LogRecord}
UNLIMITED = 1 << 30
ODD = (*UNKNOWN, b"\x10\x05", b"\x0d\x01\x02\x03\x04")  # fields 2 and 1 of another wire type


def raw_schema() -> Callable[[str], Any]:
    """Requests with only their tree declared: protobuf keeps the rest of each message as the bytes that it was."""
    file = descriptor_pb2.FileDescriptorProto(name="raw.proto", package="raw", syntax="proto3")
    for name, number, kind in (
        ("Request", 1, ".raw.Resource"),
        ("Resource", 2, ".raw.Scope"),
        ("Scope", 2, None),
        ("Beside", 1, ".raw.Attributes"),
        ("Attributes", 1, None),
    ):
        field = file.message_type.add(name=name).field.add(name="children", number=number)
        field.label = field.LABEL_OPTIONAL if name == "Beside" else field.LABEL_REPEATED
        field.type = field.TYPE_MESSAGE if kind else field.TYPE_BYTES
        if kind:
            field.type_name = kind
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return lambda name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"raw.{name}"))


RAW = raw_schema()
REQUEST, BESIDE = RAW("Request"), RAW("Beside")


class Leaf(NamedTuple):
    resource: bytes
    """All that stands in its resource beside the scopes, as it was written."""
    scope: bytes
    body: bytes


class Placed(NamedTuple):
    leaf: Leaf
    place: tuple[int, int]
    """Ordinals of the resource, and of the scope in it."""


def beside(message: Any) -> bytes:
    copy = type(message)()
    copy.CopyFrom(message)
    copy.ClearField("children")
    header: bytes = copy.SerializeToString()
    return header


def leaves(payload: bytes) -> list[Placed]:
    return [
        Placed(Leaf(beside(resource), beside(scope), body), (i, j))
        for i, resource in enumerate(REQUEST.FromString(payload).children)
        for j, scope in enumerate(resource.children)
        for body in scope.children
    ]


def finalise(word: int) -> int:
    """MurmurHash3's fmix32."""
    word = (word ^ word >> 16) * 0x85EBCA6B & 0xFFFFFFFF
    word = (word ^ word >> 13) * 0xC2B2AE35 & 0xFFFFFFFF
    return word ^ word >> 16


def partition(signal: str, leaf: Leaf, partitions: int) -> int:
    trace = LEAVES[signal].FromString(leaf.body).trace_id if signal in LEAVES else b""
    if signal == "traces" or (len(trace) == 16 and any(trace)):
        return mmh3.hash(trace, signed=False) % partitions
    attributes = BESIDE.FromString(leaf.resource).children.children
    return finalise(sum(mmh3.hash(one, signed=False) for one in attributes) & 0xFFFFFFFF) % partitions


def field(tag: bytes, body: bytes) -> bytes:
    return tag + varint(len(body)) + body


def items(signal: str, placed: list[Placed]) -> int:
    if signal != "metrics":
        return len(placed)
    metrics = [Metric.FromString(one.leaf.body) for one in placed]
    kinds = [metric.WhichOneof("data") for metric in metrics]
    return sum(
        len(getattr(one, kind).data_points) for one, kind in zip(metrics, kinds, strict=True) if kind is not None
    )


def assembled(placed: list[Placed]) -> bytes:
    out = b""
    for _, in_resource in groupby(placed, key=lambda one: one.place[0]):
        scopes, resource = b"", b""
        for _, in_scope in groupby(in_resource, key=lambda one: one.place):
            members = [one.leaf for one in in_scope]
            resource = members[0].resource
            scopes += field(b"\x12", members[0].scope + b"".join(field(b"\x12", one.body) for one in members))
        out += field(b"\x0a", resource + scopes)
    return out


def random_payload(rnd: Random, signal: str) -> bytes:
    """One request or several joined, sometimes with fields of OTLP's numbers but other wire types."""
    payload = b"".join(untidy(rnd, random_request(rnd, signal)) for _ in range(rnd.choice((1, 1, 2))))
    if rnd.random() < 0.2:
        payload += field(b"\x0a", rnd.choice(ODD) + field(b"\x12", rnd.choice(ODD) + field(b"\x12", b"")))
    return rnd.choice((b"", b"", rnd.choice(UNKNOWN))) + payload


@pytest.mark.parametrize("signal", SPLIT)
@given(seed=st.integers(0, 2**48))
@settings(max_examples=150, deadline=None)
def test_parts_hold_every_leaf_where_it_belongs(signal: str, seed: int) -> None:
    rnd = Random(seed)
    payload = random_payload(rnd, signal)
    partitions = rnd.choice((1, 2, 3, 16, 1000))
    limit = rnd.choice((1, 200, 1000, 5000, UNLIMITED))
    wanted: dict[int, list[Placed]] = defaultdict(list)
    for one in leaves(payload):
        wanted[partition(signal, one.leaf, partitions)].append(one)

    parts = SPLIT[signal](payload, partitions, limit)

    assert [number for number, _ in groupby(parts, key=lambda part: part[0])] == sorted(wanted)
    if len(wanted) == 1 and len(payload) <= limit:
        (number, whole, count) = parts[0]
        assert whole is payload
        assert count == items(signal, wanted[number])
        return
    stray = beside(REQUEST.FromString(payload))
    if parts and len(stray) + len(assembled(wanted[parts[0][0]][:1])) > limit:
        stray = b""
    rest = dict(wanted)
    for number, part, found in parts:
        count = len(leaves(part))
        assert found == items(signal, rest[number][:count])
        assert part == stray + assembled(rest[number][:count])
        assert len(part) <= limit or count == 1
        assert REQUESTS[signal]().ParseFromString(part) == len(part)
        rest[number], stray = rest[number][count:], b""
    assert not any(rest.values())
    for (number, part, _), (next_number, _, _) in pairwise(parts):
        if number == next_number:
            count = len(leaves(part))
            more = wanted[number][: count + 1]
            assert len(part) - len(assembled(more[:count])) + len(assembled(more)) > limit
            del wanted[number][:count]
