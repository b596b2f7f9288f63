"""What every message of OTLP holds that the scrubber looks at: the table that drives the walk.

By message (its name below `opentelemetry.proto.`) and field number: the word for what the field is, or the name of the
message in it. Fields that aren't here are single numbers: what comes as a string, bytes, a message or a group under a
number that isn't here is a field that protobuf doesn't know. A test walks protobuf's own descriptors and fails on
any other field that this table lacks.
"""

TEXT = "text"
"""A string in which detectors look."""
STATE = "state"
"""A W3C tracestate, whose `ot` member the sampler needs."""
ATTRIBUTE = "attribute"
"""A `KeyValue`, where key rules apply."""
VALUE = "value"
"""An `AnyValue` that has no key: the body of a log record."""

TRACE_ID = "trace id"
"""Sixteen bytes, or none. Of another length it is no id and may be anything."""
SPAN_ID = "span id"
"""Eight bytes, or none."""
NUMBERS = "numbers"
"""Many numbers in one field."""

RESOURCE = "resource.v1.Resource"
SCOPE = "common.v1.InstrumentationScope"
ENTITY = "common.v1.EntityRef"

REQUESTS = {
    "traces": "collector.trace.v1.ExportTraceServiceRequest",
    "metrics": "collector.metrics.v1.ExportMetricsServiceRequest",
    "logs": "collector.logs.v1.ExportLogsServiceRequest",
}

FIELDS: dict[str, dict[int, str]] = {
    # common
    RESOURCE: {1: ATTRIBUTE, 3: ENTITY},
    SCOPE: {1: TEXT, 2: TEXT, 3: ATTRIBUTE},
    ENTITY: {1: TEXT, 2: TEXT, 3: TEXT, 4: TEXT},
    # traces
    "collector.trace.v1.ExportTraceServiceRequest": {1: "trace.v1.ResourceSpans"},
    "trace.v1.ResourceSpans": {1: RESOURCE, 2: "trace.v1.ScopeSpans", 3: TEXT},
    "trace.v1.ScopeSpans": {1: SCOPE, 2: "trace.v1.Span", 3: TEXT},
    "trace.v1.Span": {
        1: TRACE_ID,
        2: SPAN_ID,
        3: STATE,
        4: SPAN_ID,
        5: TEXT,
        9: ATTRIBUTE,
        11: "trace.v1.Span.Event",
        13: "trace.v1.Span.Link",
        15: "trace.v1.Status",
    },
    "trace.v1.Span.Event": {2: TEXT, 3: ATTRIBUTE},
    "trace.v1.Span.Link": {1: TRACE_ID, 2: SPAN_ID, 3: STATE, 4: ATTRIBUTE},
    "trace.v1.Status": {2: TEXT},
    # metrics
    "collector.metrics.v1.ExportMetricsServiceRequest": {1: "metrics.v1.ResourceMetrics"},
    "metrics.v1.ResourceMetrics": {1: RESOURCE, 2: "metrics.v1.ScopeMetrics", 3: TEXT},
    "metrics.v1.ScopeMetrics": {1: SCOPE, 2: "metrics.v1.Metric", 3: TEXT},
    "metrics.v1.Metric": {
        1: TEXT,
        2: TEXT,
        3: TEXT,
        5: "metrics.v1.Gauge",
        7: "metrics.v1.Sum",
        9: "metrics.v1.Histogram",
        10: "metrics.v1.ExponentialHistogram",
        11: "metrics.v1.Summary",
        12: ATTRIBUTE,
    },
    "metrics.v1.Gauge": {1: "metrics.v1.NumberDataPoint"},
    "metrics.v1.Sum": {1: "metrics.v1.NumberDataPoint"},
    "metrics.v1.Histogram": {1: "metrics.v1.HistogramDataPoint"},
    "metrics.v1.ExponentialHistogram": {1: "metrics.v1.ExponentialHistogramDataPoint"},
    "metrics.v1.Summary": {1: "metrics.v1.SummaryDataPoint"},
    "metrics.v1.NumberDataPoint": {5: "metrics.v1.Exemplar", 7: ATTRIBUTE},
    "metrics.v1.HistogramDataPoint": {6: NUMBERS, 7: NUMBERS, 8: "metrics.v1.Exemplar", 9: ATTRIBUTE},
    "metrics.v1.ExponentialHistogramDataPoint": {
        1: ATTRIBUTE,
        8: "metrics.v1.ExponentialHistogramDataPoint.Buckets",
        9: "metrics.v1.ExponentialHistogramDataPoint.Buckets",
        11: "metrics.v1.Exemplar",
    },
    "metrics.v1.ExponentialHistogramDataPoint.Buckets": {2: NUMBERS},
    "metrics.v1.SummaryDataPoint": {6: "metrics.v1.SummaryDataPoint.ValueAtQuantile", 7: ATTRIBUTE},
    "metrics.v1.SummaryDataPoint.ValueAtQuantile": {},
    "metrics.v1.Exemplar": {4: SPAN_ID, 5: TRACE_ID, 7: ATTRIBUTE},
    # logs
    "collector.logs.v1.ExportLogsServiceRequest": {1: "logs.v1.ResourceLogs"},
    "logs.v1.ResourceLogs": {1: RESOURCE, 2: "logs.v1.ScopeLogs", 3: TEXT},
    "logs.v1.ScopeLogs": {1: SCOPE, 2: "logs.v1.LogRecord", 3: TEXT},
    "logs.v1.LogRecord": {3: TEXT, 5: VALUE, 6: ATTRIBUTE, 9: TRACE_ID, 10: SPAN_ID, 12: TEXT},
}

MESSAGES = tuple(FIELDS)
