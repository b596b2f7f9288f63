"""Names of metrics and units by "Prometheus and OpenMetrics Compatibility" of the OpenTelemetry specification.

http.server.duration, s, histogram  ->  http_server_duration_seconds
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal

Strategy = Literal[
    "UnderscoreEscapingWithSuffixes", "UnderscoreEscapingWithoutSuffixes", "NoUTF8EscapingWithSuffixes", "NoTranslation"
]
"""How names become names of Prometheus, with Prometheus' own words for it."""

GAUGE, COUNTER, OTHER = range(3)

_UNITS = {
    "d": "days",
    "h": "hours",
    "min": "minutes",
    "s": "seconds",
    "ms": "milliseconds",
    "us": "microseconds",
    "ns": "nanoseconds",
    "By": "bytes",
    "KiBy": "kibibytes",
    "MiBy": "mebibytes",
    "GiBy": "gibibytes",
    "TiBy": "tebibytes",
    "KBy": "kilobytes",
    "kBy": "kilobytes",
    "MBy": "megabytes",
    "GBy": "gigabytes",
    "TBy": "terabytes",
    "m": "meters",
    "V": "volts",
    "A": "amperes",
    "J": "joules",
    "W": "watts",
    "g": "grams",
    "Cel": "celsius",
    "Hz": "hertz",
    "1": "",
    "%": "percent",
}
_PER = {"s": "second", "m": "minute", "h": "hour", "d": "day", "w": "week", "mo": "month", "y": "year"}
_TOKEN = re.compile(r"[a-zA-Z0-9:]+")
_REMEMBERED = 10_000


class Names:
    """Translates names; those of the last metrics are remembered."""

    def __init__(self, strategy: Strategy, namespace: str = "") -> None:
        self._suffixes = strategy in {"UnderscoreEscapingWithSuffixes", "NoUTF8EscapingWithSuffixes"}
        self.utf8 = strategy in {"NoUTF8EscapingWithSuffixes", "NoTranslation"}
        self._namespace = namespace
        self.translate = lru_cache(_REMEMBERED)(self._translate)

    def _translate(self, name: bytes, unit: bytes, kind: int) -> tuple[bytes, bytes]:
        """The metric's name, empty where nothing of it can be used, and its unit in words."""
        text, units = name.decode("utf-8", "replace"), unit_words(unit.decode("utf-8", "replace"))
        if not text:
            return b"", b""
        full = (
            self._whole(text, units, kind, unit == b"1") if self.utf8 else self._legacy(text, units, kind, unit == b"1")
        )
        return full.encode(), "_".join(filter(None, units)).encode()

    def _legacy(self, name: str, units: tuple[str, str], kind: int, one: bool) -> str:
        tokens = _TOKEN.findall(name)
        if not tokens:
            return ""
        if self._suffixes:
            tokens += [unit for unit in units if unit and unit not in tokens]
            if kind == COUNTER:
                tokens = [*(word for word in tokens if word != "total"), "total"]
            elif kind == GAUGE and one:
                tokens = [*(word for word in tokens if word != "ratio"), "ratio"]
        result = "_".join([*_TOKEN.findall(self._namespace), *tokens])
        return f"_{result}" if result[0].isdigit() else result

    def _whole(self, name: str, units: tuple[str, str], kind: int, one: bool) -> str:
        result = f"{self._namespace}_{name}" if self._namespace else name
        if not self._suffixes:
            return result
        last = "total" if kind == COUNTER else ("ratio" if kind == GAUGE and one else "")
        result = _without(result, last)
        if units[1]:
            result = _without(result, units[1])
        if units[0] and not result.endswith(units[0]):
            result += f"_{units[0]}"
        return "_".join(filter(None, (result, units[1], last)))


def unit_words(unit: str) -> tuple[str, str]:
    """The words of a UCUM unit: of what it counts, and `per_...`; annotations in braces are none."""
    main, _, per = unit.partition("/")
    main, per = main.strip(), per.strip()
    counted = "" if "{" in main or "}" in main else _clean(_UNITS.get(main, main))
    divided = "" if "{" in per or "}" in per else _clean(_PER.get(per, per))
    return counted, f"per_{divided}" if divided else ""


def _clean(unit: str) -> str:
    return "_".join(_TOKEN.findall(unit))


def _without(name: str, suffix: str) -> str:
    """`name` without `_suffix` at its end."""
    return name.removesuffix(f"_{suffix}") if suffix else name
