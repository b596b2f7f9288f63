"""Options of `correlation`."""

from collector.api import Options, option


class RequestIdOptions(Options):
    """`request_id`: by which names it goes."""

    span_attributes: list[str] = option(
        ["butterfly.request.id", "request_id", "request.id"],
        about="Span attributes that hold the request ID, the first that is there.",
        max_length=8,
    )
    attribute: str = option(
        "request_id", about="The attribute that logs and exemplars without a request ID are given.", min_length=1
    )


class CorrelationOptions(Options):
    """`correlation`."""

    trace_context_attributes: list[str] = option(
        ["traceparent"],
        about="Log attributes where an SDK may have left the W3C trace context, for records that have no trace ID.",
        max_length=8,
    )
    trace_id_attributes: list[str] = option(
        ["trace_id"],
        about="Log attributes that may hold a trace ID alone, in hex.",
        max_length=8,
    )
    span_id_attributes: list[str] = option(
        ["span_id"], about="Log attributes that may hold the span ID that goes with it.", max_length=8
    )
    request_id: RequestIdOptions = option(RequestIdOptions(), about="How requests are recognised.")
