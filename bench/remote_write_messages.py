"""The messages of remote write, built from the published schemas as descriptors, so that no generated code is needed.

prometheus.WriteRequest: https://prometheus.io/docs/specs/prw/remote_write_spec/
io.prometheus.write.v2.Request: https://prometheus.io/docs/specs/prw/remote_write_spec_2_0/
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_F = descriptor_pb2.FieldDescriptorProto
_TYPES: dict[str, Any] = {
    "string": _F.TYPE_STRING,
    "double": _F.TYPE_DOUBLE,
    "int64": _F.TYPE_INT64,
    "uint64": _F.TYPE_UINT64,
    "uint32": _F.TYPE_UINT32,
    "sint32": _F.TYPE_SINT32,
    "sint64": _F.TYPE_SINT64,
    "int32": _F.TYPE_INT32,
}

_HISTOGRAM = (
    "count_int 1 uint64; count_float 2 double; sum 3 double; schema 4 sint32; zero_threshold 5 double; "
    "zero_count_int 6 uint64; zero_count_float 7 double; negative_spans 8 BucketSpan*; negative_deltas 9 sint64*; "
    "negative_counts 10 double*; positive_spans 11 BucketSpan*; positive_deltas 12 sint64*; "
    "positive_counts 13 double*; reset_hint 14 int32; timestamp 15 int64; custom_values 16 double*"
)
_V1 = {
    "WriteRequest": "timeseries 1 TimeSeries*; metadata 3 MetricMetadata*",
    "MetricMetadata": "type 1 int32; metric_family_name 2 string; help 4 string; unit 5 string",
    "TimeSeries": "labels 1 Label*; samples 2 Sample*; exemplars 3 Exemplar*; histograms 4 Histogram*",
    "Label": "name 1 string; value 2 string",
    "Sample": "value 1 double; timestamp 2 int64",
    "Exemplar": "labels 1 Label*; value 2 double; timestamp 3 int64",
    "Histogram": _HISTOGRAM,
    "BucketSpan": "offset 1 sint32; length 2 uint32",
}
_V2 = {
    "Request": "symbols 4 string*; timeseries 5 TimeSeries*",
    "TimeSeries": "labels_refs 1 uint32*; samples 2 Sample*; histograms 3 Histogram*; exemplars 4 Exemplar*; "
    "metadata 5 Metadata; created_timestamp 6 int64",
    "Exemplar": "labels_refs 1 uint32*; value 2 double; timestamp 3 int64",
    "Sample": "value 1 double; timestamp 2 int64; start_timestamp 3 int64",
    "Metadata": "type 1 int32; help_ref 3 uint32; unit_ref 4 uint32",
    "Histogram": _HISTOGRAM + "; start_timestamp 17 int64",
    "BucketSpan": "offset 1 sint32; length 2 uint32",
}


def _build(package: str, messages: dict[str, str]) -> dict[str, Any]:
    """Classes by name; of each message its fields as `name number type`, `*` for repeated ones."""
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
    for name, fields in messages.items():
        message = file.message_type.add(name=name)
        for text in fields.split("; "):
            field, number, kind = text.split()
            label = _F.LABEL_REPEATED if kind.endswith("*") else _F.LABEL_OPTIONAL
            kind = kind.rstrip("*")
            added = message.field.add(name=field, number=int(number), label=label)
            if kind in _TYPES:
                added.type = _TYPES[kind]
            else:
                added.type = _F.TYPE_MESSAGE
                added.type_name = f".{package}.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}")) for name in messages}


V1 = _build("prometheus", _V1)
V2 = _build("io.prometheus.write.v2", _V2)
WriteRequest = V1["WriteRequest"]
Request = V2["Request"]
