"""Which key gets which action: rules in order, the first that names the key decides."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import re2

from processors.pii_scrubber.actions import DETECT, Action, What

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

REMOVE = Action(What.DELETE)


@dataclass(frozen=True, slots=True)
class KeyRule:
    """Keys that get `action`: named exactly, by globs (with a `*`, any run of characters) or by RE2 patterns that match
    anywhere in the key."""

    keys: Sequence[str]
    action: Action
    patterns: Sequence[str] = ()


class KeyRules:
    """The rules as the compiled walk wants them.

    `actions[0]` is DETECT and `actions[1]` DELETE; `exact` gives keys the number of an action, `globs` are tried in
    order for keys that it lacks, then `otherwise` counts. Where there are patterns, `resolve(key)` gives an unknown
    key's number and the globs are left to it.
    """

    def __init__(self, rules: Iterable[KeyRule], *, otherwise: Action = DETECT) -> None:
        self.actions: list[Action] = [DETECT, REMOVE]
        self._tests: list[tuple[Callable[[bytes], object], int]] = []
        self.globs: list[tuple[bytes, int]] = []
        self.otherwise = self._number(otherwise)
        exact: list[bytes] = []
        patterned = False
        for rule in rules:
            number = self._number(rule.action)
            for key in rule.keys:
                name = key.encode()
                if "*" in key:
                    self.globs.append((name, number))
                    self._tests.append((_glob(key), number))
                else:
                    exact.append(name)
                    self._tests.append((name.__eq__, number))
            for pattern in rule.patterns:
                patterned = True
                self._tests.append((compiled(pattern).search, number))
        self.exact = {name: self.number_of(name) for name in exact}
        self.resolve = self.number_of if patterned else None

    def number_of(self, key: bytes) -> int:
        """The number of the key's action."""
        return next((number for matches, number in self._tests if matches(key)), self.otherwise)

    def action_of(self, key: str) -> Action:
        """The key's action."""
        return self.actions[self.number_of(key.encode())]

    def _number(self, action: Action) -> int:
        if action not in self.actions:
            self.actions.append(action)
        return self.actions.index(action)


def compiled(pattern: str) -> Any:
    """A linear-time pattern over bytes. Raises `ValueError` with a sentence when it is none."""
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern.encode(), options)
    except re2.error:
        raise ValueError("is not a pattern that RE2 knows (no look-around, no back-references)") from None


def _glob(key: str) -> Callable[[bytes], object]:
    return re.compile(b".*".join(re.escape(part.encode()) for part in key.split("*")), re.DOTALL).fullmatch
