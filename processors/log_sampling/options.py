"""Options of `log_sampling`."""

from enum import IntEnum
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, PlainSerializer

from collector.api import Duration, Options, option, seconds


class Severity(IntEnum):
    """The lowest severity number of each range of the OpenTelemetry log data model. `NEVER` is above all."""

    TRACE = 1
    DEBUG = 5
    INFO = 9
    WARN = 13
    ERROR = 17
    FATAL = 21
    NEVER = 25


def _named(value: Any) -> Any:
    if isinstance(value, str):
        known = Severity.__members__.get(value.upper())
        if known is None:
            raise ValueError(f"expected one of {', '.join(Severity.__members__)}")
        return known
    return value


_Name = Literal["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL", "NEVER"]
Named = Annotated[
    Severity,
    BeforeValidator(_named, json_schema_input_type=_Name),
    PlainSerializer(lambda severity: severity.name, return_type=str),
]


class WithoutTraceOptions(Options):
    """Records that name no trace."""

    sampling_percentage: float = option(100.0, about="Share of them that is kept, by their content.", ge=0, le=100)


class LogSamplingOptions(Options):
    """`log_sampling`."""

    max_wait: Duration = option(
        seconds(60),
        about="Longest time that a record waits for its trace's verdict; more than `decision_wait`.",
        gt=0,
        le=seconds(3600),
    )
    keep_severity: Named = option(
        Severity.ERROR, about="Records of this severity and above are kept, whatever becomes of their trace."
    )
    pin_severity: Named = option(
        Severity.NEVER, about="Records of this severity and above have the sampler of this process keep their trace."
    )
    undecided: bool = option(True, about="Keep a record whose trace was not decided within max_wait.")
    without_trace: WithoutTraceOptions = option(
        WithoutTraceOptions(), about="What becomes of records below keep_severity that name no trace."
    )
