"""What Loki's answers mean for the entries of a push."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from exporters.otlp.reply import rejected_items, retry_after_ns

if TYPE_CHECKING:
    from exporters.http_post import Answer

MAX_REPLY = 64 << 10
"""Bytes of an answer that are looked at; Loki lists ten refused entries at the most."""


class Meaning(Enum):
    """What to do next."""

    TAKEN = "taken"
    REFUSED = "refused"
    """Some entry is refused for good; the others may have been taken."""
    TOO_LARGE = "too large"
    LIMITED = "limited"
    """429: later, and perhaps in smaller pieces."""
    LATER = "later"
    FAILING = "failing"
    """500 and its like: later, unless it is the push that does it."""
    DENIED = "denied"
    """The sender is refused and not the data."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`reason` is one of a closed set of words, `sentence` tells a person what Loki answered."""

    meaning: Meaning
    sentence: str
    reason: str = "refused"
    wish_ns: int | None = None


# Loki's own words in small letters: releases differ in the large ones.
_REASONS = (
    (b"timestamp too old", "too_old"),
    (b"too far behind", "too_far_behind"),
    (b"out of order", "too_far_behind"),
    (b"timestamp too new", "too_far_ahead"),
    (b"max entry size", "line_too_long"),
    (b"structured metadata", "structured_metadata_too_large"),
    (b"label", "invalid_labels"),
    (b"parse error", "invalid_labels"),  # of the part of Loki that reads them again
)
_VALUES = re.compile(rb"""="(?:[^"\\]|\\.)*"|value too long: '.*""", re.DOTALL)
"""Values of labels that an answer names: they are the senders' words and not Loki's."""
_TOO_LARGE = b"message larger than max"
"""Loki's parts talk by gRPC, whose limit a push meets after that of HTTP: with a 500."""
# 260 is what Loki 3 answers where its operator has blocked the ingestion, and nothing was stored.
_BY_STATUS = {
    413: Meaning.TOO_LARGE,
    429: Meaning.LIMITED,
    **dict.fromkeys((408, 502, 503, 504), Meaning.LATER),
    **dict.fromkeys((260, 401, 403, 404, 405, 407, 415, 501), Meaning.DENIED),
}
_BY_CLASS = {1: Meaning.DENIED, 3: Meaning.DENIED, 4: Meaning.REFUSED, 5: Meaning.FAILING}


def verdict(answer: Answer, *, otlp: bool) -> Verdict:
    """The meaning of an answer; nothing of its text is passed on."""
    status = answer.status
    said = f"the backend answers HTTP {status}"
    if status // 100 == 2 and status not in _BY_STATUS:
        if otlp and rejected_items(answer.body):
            return Verdict(Meaning.REFUSED, "the backend took a part of it", "partial_success")
        return Verdict(Meaning.TAKEN, said)
    meaning = _BY_STATUS.get(status) or _BY_CLASS.get(status // 100, Meaning.DENIED)
    words = _VALUES.sub(b"", answer.body).lower()
    if meaning is Meaning.REFUSED and (b"allow_structured_metadata" in words or b"feature is disallowed" in words):
        return Verdict(Meaning.DENIED, "Loki takes no structured metadata: set limits_config.allow_structured_metadata")
    if meaning is Meaning.FAILING and _TOO_LARGE in words:
        meaning = Meaning.TOO_LARGE
    reason = next((word for text, word in _REASONS if text in words), "refused")
    if meaning is Meaning.TOO_LARGE:
        reason = "too_large"
    elif meaning is Meaning.FAILING:
        reason = "server_error"
    return Verdict(meaning, said, reason, retry_after_ns(answer.retry_after))
