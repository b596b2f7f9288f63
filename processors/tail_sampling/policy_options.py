"""What each kind of policy can be told, with the Collector's names."""

from __future__ import annotations

from typing import Literal

from collector.api import Options, Size, option

Number = int | float


class LatencyOptions(Options):
    """Duration of the whole trace, from its earliest start to its latest end."""

    threshold_ms: int = option(about="Milliseconds that the trace must exceed.", ge=0)
    upper_threshold_ms: int = option(0, about="Longest duration that matches, inclusive; 0 is no limit.", ge=0)


class NumericAttributeOptions(Options):
    """A number on a span or its resource."""

    key: str = option(about="Name of the attribute.", min_length=1)
    min_value: Number | None = option(None, about="Smallest value that matches, inclusive.")
    max_value: Number | None = option(None, about="Largest value that matches, inclusive.")
    invert_match: bool = option(False, about="Sample unless a value matches.")


class StringAttributeOptions(Options):
    """A string on a span or its resource."""

    key: str = option(about="Name of the attribute.", min_length=1)
    values: list[str] = option(about="Values or patterns, any of which matches.", min_length=1)
    enabled_regex_matching: bool = option(False, about="The values are RE2 patterns, found anywhere in the string.")
    cache_max_size: int = option(128, about="Distinct strings whose match is remembered.", ge=0, le=1_000_000)
    invert_match: bool = option(False, about="Sample unless a value matches.")


class BooleanAttributeOptions(Options):
    """A boolean on a span or its resource."""

    key: str = option(about="Name of the attribute.", min_length=1)
    value: bool = option(about="Value that matches.")
    invert_match: bool = option(False, about="Sample unless the value matches.")


class ProbabilisticOptions(Options):
    """A share of the traces."""

    sampling_percentage: float = option(about="Share of the traces, in percent.", ge=0, le=100)
    compat: Literal["consistent", "collector"] = option(
        "consistent",
        about="`consistent` decides by the trace's randomness and writes `th`; `collector` hashes as it does.",
    )
    hash_salt: str = option("", about="Salt of the hash; with `compat: collector` only.")
    sampling_precision: int = option(4, about="Hex digits of the threshold after its leading `f`s.", ge=1, le=14)


class StatusCodeOptions(Options):
    """The status of a span."""

    status_codes: list[Literal["OK", "ERROR", "UNSET"]] = option(about="Codes that match.", min_length=1)


class TraceStateOptions(Options):
    """A member of the W3C tracestate."""

    key: str = option(about="Key of the member.", min_length=1)
    values: list[str] = option(about="Values that match.", min_length=1)


class RateLimitingOptions(Options):
    """Spans a second, with a burst of twice that."""

    spans_per_second: int = option(about="Spans a second on average.", gt=0)


class BytesLimitingOptions(Options):
    """Bytes of span messages a second."""

    bytes_per_second: Size = option(about="Bytes a second on average.", gt=0)
    burst_capacity: Size = option(0, about="Bytes at once; 0 is twice the rate.", ge=0)


class SpanCountOptions(Options):
    """The number of spans, bounds inclusive."""

    min_spans: int = option(0, about="Fewest spans that match.", ge=0)
    max_spans: int = option(0, about="Most spans that match; 0 is no limit.", ge=0)


class ByzantineOptions(Options):
    """Signs of a Byzantine fault anywhere in the trace."""

    fault_attributes: list[str] = option(
        ["butterfly.byzantine.fault_type"],
        about="Attributes whose presence on a span, an event or the resource is a sign.",
    )
    detected_attributes: list[str] = option(
        ["butterfly.byzantine.detected"], about="Attributes that are a sign when they are true (or the string `true`)."
    )
    event_names: list[str] = option(
        ["byzantine.fault_detected", "byzantine.verification_failed"], about="Names of span events that are a sign."
    )
    event_prefixes: list[str] = option(["byzantine.fault"], about="Beginnings of such names.")
    verification_names: list[str] = option(["byzantine.verify"], about="Names of spans that verify.")
    verification_prefixes: list[str] = option(["verification.", "byzantine.verif"], about="Beginnings of such names.")
    verification_suffixes: list[str] = option([".verify"], about="Ends of such names.")
    result_attribute: str = option(
        "butterfly.verification.result", about="Attribute of a verification span that holds its result."
    )
    failed_results: list[str] = option(["failed"], about="Results that are a sign, as is the status ERROR.")
