"""Cross-origin requests: which web pages may send, by the fetch standard. Nothing is allowed unless it is
configured.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from receivers.otlp.config import CorsOptions


class Cors:
    """The answers to a browser that asks."""

    def __init__(self, options: CorsOptions) -> None:
        patterns = (re.escape(origin).replace(r"\*", "[^/]*") for origin in options.allowed_origins)
        self._any = "*" in options.allowed_origins
        self._allowed = re.compile("|".join(patterns), re.IGNORECASE)
        self._headers = ", ".join(["Content-Type", *options.allowed_headers])
        self._max_age = options.max_age

    def headers(self, origin: str | None) -> dict[str, str]:
        """For an ordinary answer to a page of `origin`; empty when it may not read it."""
        if origin is None or not (self._any or self._allowed.fullmatch(origin)):
            return {}
        return {"Access-Control-Allow-Origin": "*" if self._any else origin, "Vary": "Origin"}

    def preflight(self, origin: str | None) -> dict[str, str]:
        """For the answer to `OPTIONS`."""
        headers = self.headers(origin)
        if headers:
            headers["Access-Control-Allow-Methods"] = "POST"
            headers["Access-Control-Allow-Headers"] = self._headers
            if self._max_age:
                headers["Access-Control-Max-Age"] = str(self._max_age)
        return headers
