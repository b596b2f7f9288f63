"""The user's own patterns: RE2, so that no pattern and no value can take more than linear time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import re2

from processors.pii_scrubber.detect.kinds import BLOCKED, FIRST_CUSTOM, Finding, Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

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


def _any_of(patterns: Sequence[str]) -> Any | None:
    """One pattern that matches where any of these does; None for none, or when they are too many for one.

    An RE2 Set would be quicker by a third, but finds nothing in silence when it runs out of memory.
    """
    if not patterns:
        return None
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    try:
        return re2.compile("|".join(f"(?:{pattern})" for pattern in patterns), options)
    except re2.error:
        return None


class ValuePatterns:
    """Custom, allowed and blocked patterns over one value. False when there is nothing that could find anything."""

    def __init__(self, custom: Sequence[CustomPattern], allowed: Sequence[str], blocked: Sequence[str]) -> None:
        self.masks = {FIRST_CUSTOM + number: pattern.mask for number, pattern in enumerate(custom)}
        finders = [(FIRST_CUSTOM + number, pattern.pattern) for number, pattern in enumerate(custom)]
        finders += [(BLOCKED, pattern) for pattern in blocked]
        self._finders = [(kind, _compile(pattern)) for kind, pattern in finders]
        self._any = _any_of([pattern for _, pattern in finders])
        self._allowed = [_compile(pattern) for pattern in allowed]

    def __bool__(self) -> bool:
        return bool(self._finders or self._allowed)

    def joined(self, value: bytes, findings: list[Finding]) -> list[Finding]:
        """`findings` of the built-in kinds and those of the patterns, in order; what overlaps is joined into one."""
        finders = self._finders if self._any is None or self._any.search(value) else []
        if not finders and not findings:
            return findings
        allowed = _ranges(self._allowed, value)
        more = [
            finding
            for kind, pattern in finders
            if kind != BLOCKED or not allowed
            for finding in _matches(kind, pattern, value)
        ]
        if more:
            findings = sorted([*findings, *more], key=lambda found: (found.start, -found.end))
        if allowed:
            findings = list(_outside(findings, allowed))
        return _without_overlaps(findings) if more else findings


def _ranges(patterns: Iterable[Any], value: bytes) -> list[tuple[int, int]]:
    """Where any of the patterns matches, in order; what overlaps is one."""
    ranges: list[tuple[int, int]] = []
    for start, end in sorted(match.span() for pattern in patterns for match in pattern.finditer(value)):
        if ranges and start < ranges[-1][1]:
            ranges[-1] = (ranges[-1][0], max(end, ranges[-1][1]))
        else:
            ranges.append((start, end))
    return ranges


def _outside(findings: Iterable[Finding], ranges: list[tuple[int, int]]) -> Iterator[Finding]:
    """Those of the findings, which are in order, that don't lie within one of the ranges."""
    place = 0
    for finding in findings:
        while place < len(ranges) and ranges[place][1] <= finding.start:
            place += 1
        if place == len(ranges) or not (ranges[place][0] <= finding.start and finding.end <= ranges[place][1]):
            yield finding


def _matches(kind: int, pattern: Any, value: bytes) -> Iterable[Finding]:
    groups = range(1, pattern.groups + 1) if pattern.groups and kind != BLOCKED else (0,)
    for match in pattern.finditer(value):
        for group in groups:
            start, end = match.span(group)
            if start < end:
                yield Finding(start, end, kind)


def _without_overlaps(findings: list[Finding]) -> list[Finding]:
    """Of findings in order, overlapping ones become one, of the longer one's kind: all that any covers goes.

    An address that is joined with something else is no address any more: the other one's kind wins.
    """
    joined: list[Finding] = []
    for finding in findings:
        last = joined[-1] if joined else None
        if last is None or finding.start >= last.end:
            joined.append(finding)
            continue
        longer = max(last, finding, key=lambda found: (found.kind not in _ADDRESSES, found.end - found.start))
        joined[-1] = Finding(last.start, max(last.end, finding.end), longer.kind)
    return joined
