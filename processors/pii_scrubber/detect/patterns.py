"""The user's own patterns: RE2, so that no pattern and no value can take more than linear time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import re2

from processors.pii_scrubber.detect.kinds import BLOCKED, FIRST_CUSTOM, Finding, Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_ADDRESSES = (Kind.IPV4, Kind.IPV6)


@dataclass(frozen=True, slots=True)
class CustomPattern:
    """A pattern that finds more than the built-in kinds do.

    With capture groups, what the groups hold is found, and the rest of the match stays; without, the whole match.
    `mask` stands in for each; None: what `replace` of the detectors gives. `name` is what reports call it.
    """

    name: str
    pattern: str
    mask: bytes | None = None


def _compile(pattern: str) -> Any:
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        raise ValueError(f"not an RE2 pattern: {_text(error)}") from None


def _text(error: Exception) -> str:
    reason = error.args[0] if error.args else ""
    return reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)


class ValuePatterns:
    """Custom, allowed and blocked patterns over one value. False when there is nothing that could find anything."""

    def __init__(self, custom: Sequence[CustomPattern], allowed: Sequence[str], blocked: Sequence[str]) -> None:
        self.masks = {FIRST_CUSTOM + number: pattern for number, pattern in enumerate(custom)}
        finders = [(FIRST_CUSTOM + number, pattern.pattern) for number, pattern in enumerate(custom)]
        finders += [(BLOCKED, pattern) for pattern in blocked]
        self._finders = [(kind, _compile(pattern)) for kind, pattern in finders]
        self._allowed = [_compile(pattern) for pattern in allowed]

    def __bool__(self) -> bool:
        return bool(self._finders or self._allowed)

    def joined(self, value: bytes, findings: list[Finding]) -> list[Finding]:
        """`findings` of the built-in kinds and those of the patterns, in order; what overlaps is joined into one."""
        allowed = [match.span() for pattern in self._allowed for match in pattern.finditer(value)]
        more: list[Finding] = []
        for kind, pattern in self._finders:
            if kind != BLOCKED or not allowed:
                more += _matches(kind, pattern, value)
        spared = [
            finding
            for finding in [*findings, *more]
            if not any(start <= finding.start and finding.end <= end for start, end in allowed)
        ]
        return _without_overlaps(spared) if more else spared


def _matches(kind: int, pattern: Any, value: bytes) -> Iterable[Finding]:
    groups = range(1, pattern.groups + 1) if pattern.groups and kind != BLOCKED else (0,)
    for match in pattern.finditer(value):
        for group in groups:
            start, end = match.span(group)
            if start < end:
                yield Finding(start, end, kind)


def _without_overlaps(findings: list[Finding]) -> list[Finding]:
    """Nothing that any finding covers stays: overlapping ones become one, of the longer one's kind.

    An address that is joined with something else is no address any more: the other one's kind wins.
    """
    joined: list[Finding] = []
    for finding in sorted(findings, key=lambda found: (found.start, -found.end)):
        last = joined[-1] if joined else None
        if last is None or finding.start >= last.end:
            joined.append(finding)
            continue
        longer = max(last, finding, key=lambda found: (found.kind not in _ADDRESSES, found.end - found.start))
        joined[-1] = Finding(last.start, max(last.end, finding.end), longer.kind)
    return joined
