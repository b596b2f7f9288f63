"""What types can't say about the scrubbers' configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from processors.pii_scrubber import pepper
from processors.pii_scrubber.key_rules import compiled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from processors.pii_scrubber.options import PiiScrubberOptions

Path = tuple[str | int, ...]
Found = tuple[Path, str]

_MOST_GLOBS = 200
"""The preset has some of its own; the compiled table takes 256."""
_MOST_MASKS = 100


def hashes(config: PiiScrubberOptions) -> bool:
    """Whether any rule hashes, so that a pepper is needed."""
    return config.preset == "butterfly" or any(rule.action == "hash" for rule in config.rules)


def problems(config: PiiScrubberOptions) -> list[Found]:
    """What can't run."""
    found: list[Found] = []
    for number, rule in enumerate(config.rules):
        path = ("rules", number)
        if not (rule.keys or rule.patterns):
            found.append((path, "expected keys or patterns"))
        if rule.mask and rule.action != "mask":
            found.append(((*path, "mask"), "has no effect without `action: mask`"))
        found += wrong_patterns(rule.patterns, (*path, "patterns"))
    if sum("*" in key for rule in config.rules for key in rule.keys) > _MOST_GLOBS:
        found.append((("rules",), f"more than {_MOST_GLOBS} keys have a *; use patterns"))
    if len({rule.mask for rule in config.rules}) > _MOST_MASKS:
        found.append((("rules",), f"more than {_MOST_MASKS} different masks"))
    for number, one in enumerate(config.custom_patterns):
        found += wrong_patterns([one.pattern], ("custom_patterns", number), "pattern")
    found += wrong_patterns(config.allowed_values, ("allowed_values",))
    return found + pepper.problems(config, needed=hashes(config))


def warnings(config: PiiScrubberOptions) -> list[Found]:
    """What runs and is surely not what was meant."""
    found: list[Found] = []
    if not config.detect and not config.custom_patterns:
        found.append((("detect",), "is empty: values are scrubbed by their keys alone"))
    seen: set[str] = set()
    for number, rule in enumerate(config.rules):
        found += [
            (("rules", number, "keys", at), "has no effect: an earlier rule names the key")
            for at, key in enumerate(rule.keys)
            if key in seen
        ]
        seen.update(rule.keys)
    return found


def wrong_patterns(patterns: Sequence[str], path: Path, name: str = "") -> list[Found]:
    """Those that RE2 doesn't know, at their place in the list, or at `name`."""
    found: list[Found] = []
    for number, pattern in enumerate(patterns):
        try:
            compiled(pattern)
        except ValueError as error:
            found.append(((*path, name or number), str(error)))
    return found
