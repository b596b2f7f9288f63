"""gRPC's status codes: where they come from when the backend sends none, and what OTLP makes of them."""

from __future__ import annotations

from enum import IntEnum

from collector.api import ExportError, RejectedExportError, RetryableExportError
from exporters.otlp.sender import DeniedError


class Code(IntEnum):
    """The codes of the gRPC protocol."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


_RETRYABLE = frozenset(
    {Code.CANCELLED, Code.DEADLINE_EXCEEDED, Code.ABORTED, Code.OUT_OF_RANGE, Code.UNAVAILABLE, Code.DATA_LOSS}
)
_DENIED = frozenset({Code.UNAUTHENTICATED, Code.PERMISSION_DENIED, Code.UNIMPLEMENTED})

# "HTTP to gRPC Status Code Mapping" of the gRPC documentation.
_OF_HTTP = {
    400: Code.INTERNAL,
    401: Code.UNAUTHENTICATED,
    403: Code.PERMISSION_DENIED,
    404: Code.UNIMPLEMENTED,
    429: Code.UNAVAILABLE,
    502: Code.UNAVAILABLE,
    503: Code.UNAVAILABLE,
    504: Code.UNAVAILABLE,
}

# "Errors" of the gRPC protocol over HTTP/2, with one difference: ENHANCE_YOUR_CALM (11) would be RESOURCE_EXHAUSTED,
# which OTLP takes for the end of the data; but it is the transport that asks for a pause, and it has judged nothing.
_OF_RESET = {7: Code.UNAVAILABLE, 8: Code.CANCELLED, 11: Code.UNAVAILABLE, 12: Code.PERMISSION_DENIED}


def code_of(text: bytes) -> Code:
    """The value of `grpc-status`; UNKNOWN when it is none."""
    try:
        return Code(int(text)) if text.isdigit() and len(text) <= 2 else Code.UNKNOWN
    except ValueError:
        return Code.UNKNOWN


def refusal(code: Code, wish: int | None = None, reason: str = "") -> ExportError:
    """What a code other than OK means for the data, by OTLP's table; `wish` is RetryInfo's, in nanoseconds."""
    reason = reason or f"the backend answers {code.name}"
    if code in _RETRYABLE or (code is Code.RESOURCE_EXHAUSTED and wish is not None):
        return RetryableExportError(reason, wish)
    if code in _DENIED:
        return DeniedError(reason, wish)
    return RejectedExportError(reason)


def refusal_of_http(status: bytes) -> ExportError:
    """An answer that is not gRPC's, probably of something between us and the backend.

    What gRPC would call UNKNOWN, a redirect or a web page, waits for a repair: nobody looked at the data.
    """
    number = status.decode("ascii", "replace") if status.isdigit() and len(status) == 3 else "?"
    code = _OF_HTTP.get(int(number)) if number != "?" else None
    if code is None:
        return DeniedError(f"the backend answers HTTP {number} and not gRPC")
    return refusal(code, reason=f"the backend answers HTTP {number}")


def refusal_of_reset(error_code: int) -> ExportError:
    """What RST_STREAM with this HTTP/2 error code means for the data."""
    code = _OF_RESET.get(error_code, Code.INTERNAL)
    return refusal(code, reason=f"the backend resets the request ({code.name})")
