"""What OTLP/JSON has to know of every message, taken once from the descriptors of opentelemetry-proto."""

from google.protobuf.descriptor import FieldDescriptor
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdlib cimport calloc

from collector.wire.fields cimport BYTES, FIXED32, FIXED64, VARINT

# Protobuf's type -> how JSON shows it, and the wire type of one value.
_KINDS = {
    FieldDescriptor.TYPE_INT32: (INT32, VARINT),
    FieldDescriptor.TYPE_INT64: (INT64, VARINT),
    FieldDescriptor.TYPE_UINT32: (UINT32, VARINT),
    FieldDescriptor.TYPE_UINT64: (UINT64, VARINT),
    FieldDescriptor.TYPE_SINT32: (SINT32, VARINT),
    FieldDescriptor.TYPE_SINT64: (SINT64, VARINT),
    FieldDescriptor.TYPE_FIXED32: (FIXED_UINT32, FIXED32),
    FieldDescriptor.TYPE_FIXED64: (FIXED_UINT64, FIXED64),
    FieldDescriptor.TYPE_SFIXED32: (FIXED_INT32, FIXED32),
    FieldDescriptor.TYPE_SFIXED64: (FIXED_INT64, FIXED64),
    FieldDescriptor.TYPE_BOOL: (BOOL, VARINT),
    FieldDescriptor.TYPE_ENUM: (ENUM, VARINT),
    FieldDescriptor.TYPE_DOUBLE: (DOUBLE, FIXED64),
    FieldDescriptor.TYPE_STRING: (STRING, BYTES),
    FieldDescriptor.TYPE_BYTES: (BASE64, BYTES),
    FieldDescriptor.TYPE_MESSAGE: (MESSAGE, BYTES),
}
_ID_SIZES = {"trace_id": 16, "span_id": 8, "parent_span_id": 8}

# The tables live as long as the process, and so must the names that they point to.
_names = []
_messages = {}
_enums = {}
_requests = {}


cdef class Address:
    cdef void* at


cdef const char* keep(bytes name, size_t* size):
    _names.append(name)
    size[0] = PyBytes_GET_SIZE(name)
    return PyBytes_AS_STRING(name)


cdef void* allocate(size_t count, size_t size) except NULL:
    cdef void* at = calloc(count + 1, size)
    if at == NULL:
        raise MemoryError
    return at


cdef Address enum_table(descriptor):
    if descriptor.full_name in _enums:
        return _enums[descriptor.full_name]
    cdef EnumInfo* info = <EnumInfo*>allocate(1, sizeof(EnumInfo))
    cdef Address address = Address()
    address.at = info
    _enums[descriptor.full_name] = address
    info.count = len(descriptor.values)
    info.values = <EnumValue*>allocate(info.count, sizeof(EnumValue))
    for i, value in enumerate(descriptor.values):
        info.values[<int>i].name = keep(value.name.encode(), &info.values[<int>i].size)
        info.values[<int>i].number = value.number
    return address


cdef fill_field(FieldInfo* info, field, list oneofs):
    cdef Address target
    info.number = field.number
    kind, wire = _KINDS[field.type]
    if kind == BASE64 and field.name in _ID_SIZES:
        kind = HEX
        info.id_size = _ID_SIZES[field.name]
    info.kind = kind
    info.wire = wire
    info.repeated = field.is_repeated
    info.presence = field.has_presence
    oneof = field.containing_oneof
    info.oneof = oneofs.index(oneof.name) if oneof is not None and len(oneof.fields) > 1 else -1
    if info.kind == MESSAGE:
        target = message_table(field.message_type)
        info.message = <MessageInfo*>target.at
    elif info.kind == ENUM:
        target = enum_table(field.enum_type)
        info.values = <EnumInfo*>target.at
    info.name = keep(field.json_name.encode(), &info.name_size)
    info.snake = keep(field.name.encode(), &info.snake_size)
    info.member = keep(b'"%b":' % field.json_name.encode(), &info.member_size)


cdef Address message_table(descriptor):
    if descriptor.full_name in _messages:
        return _messages[descriptor.full_name]
    cdef MessageInfo* info = <MessageInfo*>allocate(1, sizeof(MessageInfo))
    cdef Address address = Address()
    cdef int slot = 0, number
    address.at = info
    _messages[descriptor.full_name] = address       # before the fields: messages contain themselves
    info.count = len(descriptor.fields)
    info.is_any_value = descriptor.full_name == "opentelemetry.proto.common.v1.AnyValue"
    info.fields = <FieldInfo*>allocate(info.count, sizeof(FieldInfo))
    for number in range(NUMBERS):
        info.slots[number] = -1
    oneofs = [oneof.name for oneof in descriptor.oneofs]
    for field in sorted(descriptor.fields, key=lambda field: field.number):
        if field.number >= NUMBERS or info.count > 64:
            raise ImportError(f"{field.full_name} doesn't fit the tables of OTLP/JSON")
        fill_field(&info.fields[slot], field, oneofs)
        info.fields[slot].slot = slot
        info.slots[<int>field.number] = <int16_t>slot
        slot += 1
    return address


cdef MessageInfo* request_info(signal) except NULL:
    """The table of a signal's `Export*ServiceRequest`. Raises `ValueError` when there is no such signal."""
    cdef Address address = _requests.get(signal)
    if address is None:
        raise ValueError(f"not a signal: {signal!r}")
    return <MessageInfo*>address.at


_requests["traces"] = message_table(ExportTraceServiceRequest.DESCRIPTOR)
_requests["metrics"] = message_table(ExportMetricsServiceRequest.DESCRIPTOR)
_requests["logs"] = message_table(ExportLogsServiceRequest.DESCRIPTOR)
