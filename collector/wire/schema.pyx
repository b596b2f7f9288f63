"""Checks a message of OTLP all the way down, by a table of its `string`, message and repeated number fields.

All other fields need no table: whatever their type says, upb takes a field of an unexpected wire type for an unknown
one, and skips it by its wire type like a scalar. A repeated number may be packed into a field of bytes.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from collector.wire.schema cimport (
    ANY_VALUE, ARRAY_VALUE, BUCKETS, CORRUPT, ENTITY_REF, EVENT, EXEMPLAR, EXPONENTIAL_HISTOGRAM, EXPONENTIAL_POINT,
    GAUGE, HISTOGRAM, HISTOGRAM_POINT, KEY_VALUE, KEY_VALUE_LIST, LINK, LOG_RECORD, LOGS_REQUEST, MESSAGES, METRIC,
    METRICS_REQUEST, NOT_UTF8, NUMBER_POINT, QUANTILE, REQUEST, RESOURCE, RESOURCE_LOGS, RESOURCE_METRICS,
    RESOURCE_SPANS, SCOPE, SCOPE_LOGS, SCOPE_METRICS, SCOPE_SPANS, SOUND, SPAN, STATUS, SUM, SUMMARY, SUMMARY_POINT,
    TOO_DEEP, Message, check_key_value,
)
from collector.wire.utf8 cimport is_utf8
from collector.wire.varint cimport read_size, read_tag, read_varint, skip_value

cdef enum:
    FIELDS = 16         # field numbers at or above this one have no place in the table
    OPAQUE = 0xff
    STRING = 0xfe
    VARINTS = 0xfd      # packed
    WORDS = 0xfc        # packed, of 64 bits

cdef uint8_t[MESSAGES][FIELDS] content

_NAMES = {
    REQUEST: "collector.trace.v1.ExportTraceServiceRequest",
    RESOURCE_SPANS: "trace.v1.ResourceSpans",
    SCOPE_SPANS: "trace.v1.ScopeSpans",
    SPAN: "trace.v1.Span",
    EVENT: "trace.v1.Span.Event",
    LINK: "trace.v1.Span.Link",
    STATUS: "trace.v1.Status",
    RESOURCE: "resource.v1.Resource",
    SCOPE: "common.v1.InstrumentationScope",
    ENTITY_REF: "common.v1.EntityRef",
    KEY_VALUE: "common.v1.KeyValue",
    ANY_VALUE: "common.v1.AnyValue",
    ARRAY_VALUE: "common.v1.ArrayValue",
    KEY_VALUE_LIST: "common.v1.KeyValueList",
    METRICS_REQUEST: "collector.metrics.v1.ExportMetricsServiceRequest",
    RESOURCE_METRICS: "metrics.v1.ResourceMetrics",
    SCOPE_METRICS: "metrics.v1.ScopeMetrics",
    METRIC: "metrics.v1.Metric",
    GAUGE: "metrics.v1.Gauge",
    SUM: "metrics.v1.Sum",
    HISTOGRAM: "metrics.v1.Histogram",
    EXPONENTIAL_HISTOGRAM: "metrics.v1.ExponentialHistogram",
    SUMMARY: "metrics.v1.Summary",
    NUMBER_POINT: "metrics.v1.NumberDataPoint",
    HISTOGRAM_POINT: "metrics.v1.HistogramDataPoint",
    EXPONENTIAL_POINT: "metrics.v1.ExponentialHistogramDataPoint",
    SUMMARY_POINT: "metrics.v1.SummaryDataPoint",
    BUCKETS: "metrics.v1.ExponentialHistogramDataPoint.Buckets",
    QUANTILE: "metrics.v1.SummaryDataPoint.ValueAtQuantile",
    EXEMPLAR: "metrics.v1.Exemplar",
    LOGS_REQUEST: "collector.logs.v1.ExportLogsServiceRequest",
    RESOURCE_LOGS: "logs.v1.ResourceLogs",
    SCOPE_LOGS: "logs.v1.ScopeLogs",
    LOG_RECORD: "logs.v1.LogRecord",
}
_KINDS = {STRING: "string", VARINTS: "packed varints", WORDS: "packed words"}
_CONTENT = {
    REQUEST: {1: RESOURCE_SPANS},
    RESOURCE_SPANS: {1: RESOURCE, 2: SCOPE_SPANS, 3: STRING},
    SCOPE_SPANS: {1: SCOPE, 2: SPAN, 3: STRING},
    SPAN: {3: STRING, 5: STRING, 9: KEY_VALUE, 11: EVENT, 13: LINK, 15: STATUS},
    EVENT: {2: STRING, 3: KEY_VALUE},
    LINK: {3: STRING, 4: KEY_VALUE},
    STATUS: {2: STRING},
    RESOURCE: {1: KEY_VALUE, 3: ENTITY_REF},
    SCOPE: {1: STRING, 2: STRING, 3: KEY_VALUE},
    ENTITY_REF: {1: STRING, 2: STRING, 3: STRING, 4: STRING},
    KEY_VALUE: {1: STRING, 2: ANY_VALUE},
    ANY_VALUE: {1: STRING, 5: ARRAY_VALUE, 6: KEY_VALUE_LIST},
    ARRAY_VALUE: {1: ANY_VALUE},
    KEY_VALUE_LIST: {1: KEY_VALUE},
    METRICS_REQUEST: {1: RESOURCE_METRICS},
    RESOURCE_METRICS: {1: RESOURCE, 2: SCOPE_METRICS, 3: STRING},
    SCOPE_METRICS: {1: SCOPE, 2: METRIC, 3: STRING},
    METRIC: {
        1: STRING, 2: STRING, 3: STRING, 5: GAUGE, 7: SUM, 9: HISTOGRAM, 10: EXPONENTIAL_HISTOGRAM, 11: SUMMARY,
        12: KEY_VALUE,
    },
    GAUGE: {1: NUMBER_POINT},
    SUM: {1: NUMBER_POINT},
    HISTOGRAM: {1: HISTOGRAM_POINT},
    EXPONENTIAL_HISTOGRAM: {1: EXPONENTIAL_POINT},
    SUMMARY: {1: SUMMARY_POINT},
    NUMBER_POINT: {5: EXEMPLAR, 7: KEY_VALUE},
    HISTOGRAM_POINT: {6: WORDS, 7: WORDS, 8: EXEMPLAR, 9: KEY_VALUE},
    EXPONENTIAL_POINT: {1: KEY_VALUE, 8: BUCKETS, 9: BUCKETS, 11: EXEMPLAR},
    SUMMARY_POINT: {6: QUANTILE, 7: KEY_VALUE},
    BUCKETS: {2: VARINTS},
    QUANTILE: {},
    EXEMPLAR: {7: KEY_VALUE},
    LOGS_REQUEST: {1: RESOURCE_LOGS},
    RESOURCE_LOGS: {1: RESOURCE, 2: SCOPE_LOGS, 3: STRING},
    SCOPE_LOGS: {1: SCOPE, 2: LOG_RECORD, 3: STRING},
    LOG_RECORD: {3: STRING, 5: ANY_VALUE, 6: KEY_VALUE, 12: STRING},
}


cdef int fill_table() except -1:
    cdef int message, number
    for message in range(MESSAGES):
        for number in range(FIELDS):
            content[message][number] = _CONTENT[message].get(number, OPAQUE)
    return 0


fill_table()


def checked_fields():
    return {
        "opentelemetry.proto." + _NAMES[message]: {
            number: _KINDS[kind] if kind in _KINDS else "opentelemetry.proto." + _NAMES[kind]
            for number, kind in fields.items()
        }
        for message, fields in _CONTENT.items()
    }


cdef bint are_varints(const uint8_t* p, const uint8_t* end) noexcept nogil:
    cdef uint64_t value = 0
    while p < end:
        p = read_varint(p, end, &value)
        if p == NULL:
            return False
    return True


cdef int check_message(
    Message message, const uint8_t* p, const uint8_t* end, int levels, int values
) noexcept nogil:
    """A `Fault`, or `SOUND`. `levels` more messages may begin inside of this one, and `values` more AnyValues."""
    cdef uint32_t tag = 0, number
    cdef uint64_t size = 0
    cdef uint8_t kind
    cdef int fault
    while p < end:
        p = read_tag(p, end, &tag)
        if p == NULL:
            return CORRUPT
        if tag & 7 != 2:
            p = skip_value(p, end, tag, levels)
            if p == NULL:
                return CORRUPT
            continue
        p = read_size(p, end, &size)
        if p == NULL:
            return CORRUPT
        number = tag >> 3
        kind = content[<int>message][number] if number < FIELDS else <uint8_t>OPAQUE
        if kind == STRING:
            if not is_utf8(p, size):
                return NOT_UTF8
        elif kind == WORDS:
            if size & 7:
                return CORRUPT
        elif kind == VARINTS:
            if not are_varints(p, p + size):
                return CORRUPT
        elif kind != OPAQUE:
            if levels < 1:
                return TOO_DEEP
            if kind == KEY_VALUE:
                fault = check_key_value(p, p + size, levels - 1, values)
            elif kind == ANY_VALUE:
                if values < 1:
                    return TOO_DEEP
                fault = check_message(ANY_VALUE, p, p + size, levels - 1, values - 1)
            else:
                fault = check_message(<Message>kind, p, p + size, levels - 1, values)
            if fault != SOUND:
                return fault
        p += size
    return SOUND
