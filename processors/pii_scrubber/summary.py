"""The Collector's summary of what `redaction` did: `redaction.*` attributes beside those that it is about.

For people who try a configuration, so it works on protobuf's objects: with `summary` on, a request costs several times
what it costs without.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue

from collector.api import Signal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

NAMED = ("redacted", "masked", "allowed")
"""Fates whose keys `debug` tells; of ignored ones only the number."""
_REQUESTS: dict[Signal, Any] = {
    Signal.TRACES: ExportTraceServiceRequest,
    Signal.METRICS: ExportMetricsServiceRequest,
    Signal.LOGS: ExportLogsServiceRequest,
}
_ATTRIBUTES = "attributes"
_LARGEST = 2**63 - 1


class Summary:
    """Compares a request with what the scrubber made of it.

    `ignored(key)` and `removed(key)` say what the rules say of a key; `allowed(text)` whether a value is an allowed
    one. `name(key)` gives what the summary may call a key, whose own text may be personal; without it keys are counted.
    """

    def __init__(
        self,
        ignored: Callable[[str], bool],
        removed: Callable[[str], bool],
        allowed: Callable[[str], bool],
        name: Callable[[str], str] | None,
    ) -> None:
        self._ignored = ignored
        self._removed = removed
        self._allowed = allowed
        self._name = name

    def added(self, signal: Signal, before: bytes, after: bytes) -> bytes:
        """`after` with a summary beside the attributes of each resource, scope, span, event, link, record and point."""
        request = _REQUESTS[signal].FromString(after)
        try:
            original = _REQUESTS[signal].FromString(before)
        except DecodeError:  # a text that is no UTF-8: it was scrubbed, but there is nothing to compare with
            return after
        for was, now in _holders(original, request):
            self._sum_up(was.attributes, now.attributes)
        whole: bytes = request.SerializeToString()
        return whole

    def _sum_up(self, was: Sequence[KeyValue], now: Any) -> None:
        fates: dict[str, list[str]] = {}
        left = iter(list(now))
        for attribute in was:
            fate = "redacted" if self._removed(attribute.key) else self._fate(attribute, next(left))
            fates.setdefault(fate, []).append(attribute.key)
        for fate in (*NAMED, "ignored"):
            if keys := fates.get(fate):
                self._add(now, fate, keys)

    def _fate(self, was: KeyValue, now: KeyValue) -> str:
        if self._ignored(was.key):
            return "ignored"
        if was != now:
            return "masked"
        if was.value.WhichOneof("value") == "string_value" and self._allowed(was.value.string_value):
            return "allowed"
        return ""

    def _add(self, attributes: Any, fate: str, keys: list[str]) -> None:
        """What an earlier processor wrote is added to, as in the Collector."""
        if self._name is not None and fate in NAMED:
            listed = _attribute(attributes, f"redaction.{fate}.keys").value
            earlier = [key for key in listed.string_value.split(",") if key]
            listed.string_value = ",".join(sorted([*map(self._name, keys), *earlier]))
        count = _attribute(attributes, f"redaction.{fate}.count").value
        count.int_value = min(count.int_value + len(keys), _LARGEST)


def _attribute(attributes: Any, key: str) -> KeyValue:
    found: KeyValue = next((each for each in attributes if each.key == key), None) or attributes.add(key=key)
    return found


def _holders(was: Any, now: Any) -> Iterator[tuple[Any, Any]]:
    """Every pair of messages that have attributes. The scrubber removes attributes, and no other message."""
    for field, value in was.ListFields():
        if field.message_type is None or field.name == "body":
            continue
        other = getattr(now, field.name)
        if field.message_type is KeyValue.DESCRIPTOR:
            if field.name == _ATTRIBUTES:
                yield was, now
            continue
        pairs = zip(value, other, strict=True) if field.is_repeated else ((value, other),)
        for one, two in pairs:
            yield from _holders(one, two)
