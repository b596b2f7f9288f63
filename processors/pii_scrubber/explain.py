"""What the scrubber did to a request, for a person: where, by which rule, and what stands there now.

What stood there before is told by its kind and length alone.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from collector.api import to_json
from processors.pii_scrubber.actions import Action, What
from processors.pii_scrubber.values import mask_addresses

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from collector.api import Signal
    from processors.pii_scrubber.detect import ValueDetectors
    from processors.pii_scrubber.key_rules import KeyRules

_ATTRIBUTES = ("attributes", "filteredAttributes", "metadata")
_LEAVES = ("stringValue", "bytesValue", "intValue", "doubleValue", "boolValue")
_BY_NAME = (What.HASH, What.LENGTH, What.MASK, What.REDACT)
UNSCRUBBABLE = "could not be scrubbed"


@dataclass(frozen=True, slots=True)
class Change:
    """One value that changes. `path` leads to it in OTLP/JSON, an attribute by its scrubbed key; `was` is what it was
    like; `now` is what takes its place, None where the attribute goes."""

    path: str
    rule: str
    was: str
    now: str | None


class Explainer:
    """Compares a request with what became of it, and says for each difference which rule of `rules` or which kind of
    finding (`kind_name` names it) made it."""

    def __init__(self, rules: KeyRules, detectors: ValueDetectors, kind_name: Callable[[int], str]) -> None:
        self._rules = rules
        self._detectors = detectors
        self._kind_name = kind_name

    def changes(self, signal: Signal, before: bytes, after: bytes) -> list[Change]:
        """Every difference of the two protobuf requests, in order."""
        old, new = (json.loads(to_json(payload, signal.value)) for payload in (before, after))
        return list(self._message("", old, new))

    def _message(self, path: str, old: Any, new: Any) -> Iterator[Change]:
        if isinstance(old, dict):
            for name, member in old.items():
                place = f"{path}.{name}" if path else name
                if name in _ATTRIBUTES:
                    yield from self._attributes(place, member, new.get(name, []), listed=True)
                elif name == "body":
                    yield from self._value(place, member, new[name], Action(What.DETECT), body=True)
                else:
                    yield from self._message(place, member, new[name])
        elif isinstance(old, list):
            for at, (one, other) in enumerate(zip(old, new, strict=True)):
                yield from self._message(f"{path}[{at}]", one, other)
        elif old != new:
            yield Change(path, self._kinds(old.encode()), _shape("stringValue", old), new)

    def _attributes(
        self,
        path: str,
        old: list[Any],
        new: list[Any],
        *,
        listed: bool,
        inherited: Action | None = None,
        body: bool = False,
    ) -> Iterator[Change]:
        left = iter(new)
        for one in old:
            key = one.get("key", "")
            action = inherited or self._rules.action_of(key)
            if action.what is What.UNLISTED:
                action = Action(What.DELETE if listed else What.DETECT)
            if action.what is What.DELETE:
                named = key if self._detectors.scrub(key.encode()) is None else "?"
                kind = next(iter(one.get("value", {})), "")
                yield Change(f'{path}["{named}"]', "delete", _shape(kind, one.get("value", {}).get(kind)), None)
                continue
            other = next(left)
            place = f'{path}["{other.get("key", "")}"]'
            if key != other.get("key", ""):
                yield Change(f"{place}.key", self._kinds(key.encode()), _shape("stringValue", key), other["key"])
            yield from self._value(place, one.get("value", {}), other.get("value", {}), action, body=body)

    def _value(
        self, path: str, old: dict[str, Any], new: dict[str, Any], action: Action, *, body: bool
    ) -> Iterator[Change]:
        if old == new:
            return
        inherited = None if action.what is What.DETECT else action
        kind = next(iter(old), "")
        if kind in new and kind in ("arrayValue", "kvlistValue"):
            members, others = old[kind].get("values", []), new[kind].get("values", [])
            if kind == "arrayValue":
                yield from self._items(path, members, others, action, body=body)
            else:
                yield from self._attributes(path, members, others, listed=body, inherited=inherited, body=body)
            return
        now = next(iter(new.values()), "")
        yield Change(path, self._rule(action, kind, old.get(kind)), _shape(kind, old.get(kind)), str(now))

    def _items(self, path: str, old: list[Any], new: list[Any], action: Action, *, body: bool) -> Iterator[Change]:
        for at, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from self._value(f"{path}[{at}]", one, other, action, body=body)

    def _rule(self, action: Action, kind: str, value: Any) -> str:
        if action.what in _BY_NAME:
            return action.what.name.lower()
        if kind not in _LEAVES:
            return UNSCRUBBABLE
        text = base64.b64decode(value) if kind == "bytesValue" else str(value).encode()
        masked = action.what is What.MASK_IP and mask_addresses(text) is not None
        return "mask" if masked else self._kinds(text)

    def _kinds(self, text: bytes) -> str:
        kinds = dict.fromkeys(self._kind_name(finding.kind) for finding in self._detectors.find(text))
        return "+".join(kinds) or UNSCRUBBABLE


def _shape(kind: str, value: Any) -> str:
    if kind == "stringValue":
        return f"text of {len(value)} characters"
    if kind == "bytesValue":
        return f"{len(base64.b64decode(value))} bytes"
    return {"intValue": "a number", "doubleValue": "a number", "boolValue": "a bool", "": "nothing"}.get(
        kind, f"a list of {len(value.get('values', [])) if isinstance(value, dict) else 0}"
    )
