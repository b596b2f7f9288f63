"""Loki's push messages (`logproto`), by their field numbers, for protobuf's own parser."""

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2

_STRING, _MESSAGE, _UINT64 = 9, 11, 4
_MESSAGES = {
    "PushRequest": [("streams", 1, ".logproto.StreamAdapter", True)],
    "StreamAdapter": [
        ("labels", 1, _STRING, False),
        ("entries", 2, ".logproto.EntryAdapter", True),
        ("hash", 3, _UINT64, False),
    ],
    "EntryAdapter": [
        ("timestamp", 1, ".google.protobuf.Timestamp", False),
        ("line", 2, _STRING, False),
        ("structuredMetadata", 3, ".logproto.LabelPairAdapter", True),
    ],
    "LabelPairAdapter": [("name", 1, _STRING, False), ("value", 2, _STRING, False)],
}


def _file():
    file = descriptor_pb2.FileDescriptorProto(name="push.proto", package="logproto", syntax="proto3")
    file.dependency.append("google/protobuf/timestamp.proto")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, kind, repeated in fields:
            made = message.field.add(name=field, number=number, label=3 if repeated else 1)
            if isinstance(kind, str):
                made.type, made.type_name = _MESSAGE, kind
            else:
                made.type = kind
    return file


_POOL = descriptor_pool.DescriptorPool()
_POOL.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
_POOL.Add(_file())
PushRequest = message_factory.GetMessageClass(_POOL.FindMessageTypeByName("logproto.PushRequest"))


def entries_of(push):
    """[(labels, nanoseconds, line, [(name, value)])] of a `PushRequest`, in its order."""
    return [
        (
            stream.labels,
            entry.timestamp.seconds * 10**9 + entry.timestamp.nanos,
            entry.line,
            [(pair.name, pair.value) for pair in entry.structuredMetadata],
        )
        for stream in push.streams
        for entry in stream.entries
    ]
