"""Single data points for Python, with what their metric says of them; as view.pyx for spans."""

from collections import namedtuple

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from collector.wire.any_value cimport decode_text
from collector.wire.fields cimport BYTES, FIXED64, VARINT, Field
from collector.wire.item_view cimport ItemView, Request, find_last, next_field, views_of
from collector.wire.metric cimport (
    EXPONENTIAL_KIND, GAUGE_KIND, HISTOGRAM_KIND, SUM_KIND, SUMMARY_KIND, shape_of,
)

cdef enum:                   # of Metric
    NAME = 1
    DESCRIPTION = 2
    UNIT = 3

cdef enum:                   # of all data points, and of exemplars where they have them
    START = 2
    TIME = 3
    COUNT = 4
    SUM = 5
    AS_DOUBLE_OF_POINT = 4
    AS_INT = 6
    EXEMPLAR_TIME = 2
    AS_DOUBLE_OF_EXEMPLAR = 3
    EXEMPLAR_SPAN = 4
    EXEMPLAR_TRACE = 5

_KINDS = {
    GAUGE_KIND: "gauge",
    SUM_KIND: "sum",
    HISTOGRAM_KIND: "histogram",
    EXPONENTIAL_KIND: "exponential_histogram",
    SUMMARY_KIND: "summary",
}
_TEMPORALITIES = ("unspecified", "delta", "cumulative")

Exemplar = namedtuple("Exemplar", ("trace_id", "span_id", "value", "time_unix_nano"))


cdef object as_double(uint64_t bits):
    cdef double number
    memcpy(&number, &bits, 8)
    return number


cdef object number_value(const uint8_t* at, const uint8_t* end, uint32_t as_double_number):
    """The oneof of `as_double` and `as_int`, of which the last counts; or None."""
    cdef Field field
    cdef int64_t integer
    value = None
    while at < end:
        next_field(&at, end, &field)
        if field.wire != FIXED64:
            continue
        if field.number == as_double_number:
            value = as_double(field.value)
        elif field.number == AS_INT:
            integer = <int64_t>field.value
            value = integer
    return value


cdef bytes blob_of(const uint8_t* at, const uint8_t* end, uint32_t number):
    cdef Field field
    if not find_last(at, end, number, BYTES, &field):
        return b""
    return PyBytes_FromStringAndSize(<const char*>field.body, field.value)


@cython.final
cdef class PointRequest(Request):
    """With the columns of the points' metrics."""

    cdef const uint8_t[::1] kind
    cdef const uint8_t[::1] temporality
    cdef const uint8_t[::1] monotonic
    cdef const uint32_t[::1] metric
    cdef const uint32_t[::1] metric_offset
    cdef const uint32_t[::1] metric_length


@cython.final
cdef class PointView(ItemView):
    cdef str of_metric(self, uint32_t number):
        cdef PointRequest request = <PointRequest>self.request
        cdef const uint8_t* at = <const uint8_t*>PyBytes_AS_STRING(request.payload)
        cdef uint64_t size = PyBytes_GET_SIZE(request.payload)
        cdef uint32_t metric = request.metric[self.row]
        cdef Field field
        if metric >= <size_t>request.metric_offset.shape[0]:
            raise ValueError("the index is not this payload's")
        if <uint64_t>request.metric_offset[metric] + request.metric_length[metric] > size:
            raise ValueError("the index is not this payload's")
        at += request.metric_offset[metric]
        if not find_last(at, at + request.metric_length[metric], number, BYTES, &field):
            return ""
        return decode_text(field.body, field.value)

    cdef object optional_double(self, uint32_t number):
        cdef Field field
        return as_double(field.value) if find_last(self.at, self.end, number, FIXED64, &field) else None

    cdef uint32_t kind_number(self):
        return (<PointRequest>self.request).kind[self.row]

    @property
    def name(self):
        return self.of_metric(NAME)

    @property
    def unit(self):
        return self.of_metric(UNIT)

    @property
    def description(self):
        return self.of_metric(DESCRIPTION)

    @property
    def kind(self):
        return _KINDS[self.kind_number()]

    @property
    def temporality(self):
        return _TEMPORALITIES[(<PointRequest>self.request).temporality[self.row]]

    @property
    def monotonic(self):
        return (<PointRequest>self.request).monotonic[self.row] != 0

    @property
    def start_time_unix_nano(self):
        return self.number(START, FIXED64)

    @property
    def time_unix_nano(self):
        return self.number(TIME, FIXED64)

    @property
    def flags(self):
        return <uint32_t>self.number(shape_of(self.kind_number()).flags >> 3, VARINT)

    @property
    def value(self):
        cdef uint32_t kind = self.kind_number()
        if kind == GAUGE_KIND or kind == SUM_KIND:
            return number_value(self.at, self.end, AS_DOUBLE_OF_POINT)
        return None

    @property
    def count(self):
        cdef uint32_t kind = self.kind_number()
        if kind == GAUGE_KIND or kind == SUM_KIND:
            return None
        return self.number(COUNT, FIXED64)

    @property
    def sum(self):
        cdef uint32_t kind = self.kind_number()
        if kind == GAUGE_KIND or kind == SUM_KIND:
            return None
        found = self.optional_double(SUM)
        return 0.0 if found is None and kind == SUMMARY_KIND else found

    @property
    def min(self):
        cdef uint32_t kind = self.kind_number()
        if kind == HISTOGRAM_KIND or kind == EXPONENTIAL_KIND:
            return self.optional_double(11 if kind == HISTOGRAM_KIND else 12)
        return None

    @property
    def max(self):
        cdef uint32_t kind = self.kind_number()
        if kind == HISTOGRAM_KIND or kind == EXPONENTIAL_KIND:
            return self.optional_double(12 if kind == HISTOGRAM_KIND else 13)
        return None

    @property
    def exemplars(self):
        cdef uint32_t number = shape_of(self.kind_number()).exemplars >> 3
        cdef const uint8_t* at = self.at
        cdef Field exemplar, time
        cdef list found = []
        while number and at < self.end:
            next_field(&at, self.end, &exemplar)
            if exemplar.number != number or exemplar.wire != BYTES:
                continue
            if not find_last(exemplar.body, exemplar.after, EXEMPLAR_TIME, FIXED64, &time):
                time.value = 0
            found.append(Exemplar(
                blob_of(exemplar.body, exemplar.after, EXEMPLAR_TRACE),
                blob_of(exemplar.body, exemplar.after, EXEMPLAR_SPAN),
                number_value(exemplar.body, exemplar.after, AS_DOUBLE_OF_EXEMPLAR),
                time.value,
            ))
        return found


cdef ItemView make_view():
    return PointView.__new__(PointView)


def point_views(bytes payload not None, index, mask=None):
    cdef PointRequest request = PointRequest()
    cdef PointView view
    cdef Py_ssize_t rows
    request.kind = index.kind
    request.temporality = index.temporality
    request.monotonic = index.monotonic.view("uint8")
    request.metric = index.metric
    request.metric_offset = index.metric_offset
    request.metric_length = index.metric_length
    made = views_of(request, payload, index, mask, make_view)
    rows = request.resource.shape[0]
    if not rows == len(index.kind) == len(index.temporality) == len(index.monotonic) == len(index.metric):
        raise ValueError("the index is not this payload's")
    if request.metric_offset.shape[0] != request.metric_length.shape[0]:
        raise ValueError("the index is not this payload's")
    for view in made:
        view.attributes_number = shape_of(request.kind[view.row]).attributes >> 3
    return made
