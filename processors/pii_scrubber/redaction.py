"""`redaction`: the OpenTelemetry Collector's processor of that name, so that its configuration can be moved over."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Any, Literal

from collector.api import Options, Secret, option
from processors.pii_scrubber.actions import DETECT, MASKED, REDACTED, Action, What
from processors.pii_scrubber.checks import wrong_patterns
from processors.pii_scrubber.detect import ValueDetectors, hashed
from processors.pii_scrubber.key_rules import KeyRule, KeyRules, compiled
from processors.pii_scrubber.processor import ScrubbingProcessor
from processors.pii_scrubber.scrubber import Scrubber
from processors.pii_scrubber.summary import Summary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from collector.api import Batch

_SUMMARIES = tuple(
    f"redaction.{body}{what}"
    for body in ("", "body.")
    for what in (
        "redacted.keys",
        "redacted.count",
        "masked.keys",
        "masked.count",
        "allowed.keys",
        "allowed.count",
        "ignored.count",
    )
)
"""Attributes that a Collector before us may have added; they are always allowed, as there."""
LONGEST_KEY = 512
"""Bytes of a key; an attribute with a longer one is removed whatever the lists say."""
_PATTERNS = ("ignored_key_patterns", "blocked_key_patterns", "blocked_values", "allowed_values")
_SANITIZERS = ("url_sanitizer", "db_sanitizer")


class RedactionOptions(Options):
    """`redaction`."""

    allow_all_keys: bool = option(False, about="Keep attributes whatever their key; `allowed_keys` then says nothing.")
    allowed_keys: list[str] = option([], about="Keys of attributes that are kept; all others are removed.")
    ignored_keys: list[str] = option([], about="Keys of attributes that pass as they are.")
    ignored_key_patterns: list[str] = option([], about="RE2 patterns of such keys.")
    blocked_key_patterns: list[str] = option([], about="RE2 patterns of keys whose values are masked whole.")
    blocked_values: list[str] = option([], about="RE2 patterns; what they match in a value is masked.")
    allowed_values: list[str] = option([], about="RE2 patterns; a value in which one matches is not masked.")
    hash_function: Literal["", "md5", "sha1", "sha3", "hmac-sha256", "hmac-sha512"] = option(
        "", about="Mask by a hash in place of `****`."
    )
    hmac_key: Secret = option(Secret(""), about="The key of the two HMACs.")
    redact_all_types: bool = option(False, about="Look at numbers too, as text.")
    summary: Literal["", "debug", "info", "silent"] = option(
        "", about="Add `redaction.*` attributes with counts (info), or the keys' names too (debug)."
    )
    url_sanitizer: dict[str, Any] = option({}, about="Not supported; refused where it is enabled.")
    db_sanitizer: dict[str, Any] = option({}, about="Not supported; refused where it is enabled.")


class Redaction(ScrubbingProcessor):
    """The Collector's processor of that name: removes attributes that aren't allowed, masks blocked values. See
    docs/components/redaction.md.
    """

    Config = RedactionOptions

    def __init__(self, config: RedactionOptions, context: Any) -> None:
        super().__init__(config, context)
        self._scrubber = self.make()
        self._summary = self._make_summary() if config.summary in ("debug", "info") else None

    @classmethod
    def problems(cls, config: RedactionOptions) -> list[tuple[tuple[str | int, ...], str]]:
        """See `Component`."""
        found = [problem for name in _PATTERNS for problem in wrong_patterns(getattr(config, name), (name,))]
        if config.hash_function.startswith("hmac-") and not config.hmac_key.get_secret_value():
            found.append((("hmac_key",), f"{config.hash_function} needs a key"))
        found += [
            ((name,), "is not supported: mask what it would have changed with blocked_values, or turn it off")
            for name in _SANITIZERS
            if _is_enabled(getattr(config, name))
        ]
        return found

    @classmethod
    def warnings(cls, config: RedactionOptions) -> list[tuple[tuple[str | int, ...], str]]:
        """See `Component`."""
        found: list[tuple[tuple[str | int, ...], str]] = []
        if config.summary in ("debug", "info"):
            found.append((("summary",), "makes every request several times as dear; it is for trying a configuration"))
        if not config.allow_all_keys and not config.allowed_keys:
            found.append((("allowed_keys",), "is empty, so every attribute is removed; allow_all_keys keeps them"))
        if config.hash_function in ("md5", "sha1", "sha3"):
            found.append((("hash_function",), "has no key, so that guessing finds the value: prefer hmac-sha256"))
        return found

    def process(self, batch: Batch) -> Iterable[Batch]:
        """See `ScrubbingProcessor`. With `summary`, every batch has a new payload."""
        if self._summary is None:
            return super().process(batch)
        before, count = batch.to_bytes(), len(batch)
        (scrubbed,) = super().process(batch)
        if not scrubbed.payload:
            return (scrubbed,)
        return (scrubbed.replace(self._summary.added(batch.signal, before, scrubbed.to_bytes()), count=count),)

    def rules(self) -> KeyRules:
        config = self.config
        masking = Action(What.HASH) if config.hash_function else Action(What.MASK, MASKED)
        ignored = KeyRule(config.ignored_keys, Action(What.IGNORE), config.ignored_key_patterns)
        if config.allow_all_keys:
            return KeyRules([ignored, KeyRule((), masking, config.blocked_key_patterns)])
        blocked = [compiled(pattern) for pattern in config.blocked_key_patterns]
        allowed = [*config.allowed_keys, *_SUMMARIES]
        masked = [key for key in allowed if any(pattern.search(key.encode()) for pattern in blocked)]
        return KeyRules([ignored, KeyRule(masked, masking), KeyRule(allowed, DETECT)], otherwise=Action(What.UNLISTED))

    def detectors(self) -> ValueDetectors:
        config = self.config
        return ValueDetectors(
            (),
            allowed_values=config.allowed_values,
            blocked_values=config.blocked_values,
            replace=hashed(config.hash_function, self._key()) if config.hash_function else None,
        )

    def make(self) -> Scrubber:
        config = self.config
        allowed = [compiled(pattern) for pattern in config.allowed_values]
        return Scrubber(
            self.detectors(),
            self.rules(),
            digest=_digest(config.hash_function, self._key()),
            allowed=(lambda value: any(pattern.search(value) for pattern in allowed)) if allowed else None,
            numbers=config.redact_all_types,
        )

    def _make_summary(self) -> Summary:
        config = self.config
        ignored = [compiled(pattern) for pattern in config.ignored_key_patterns]
        allowed = [compiled(pattern) for pattern in config.allowed_values]
        listed = frozenset((*config.allowed_keys, *_SUMMARIES))

        def is_ignored(key: str) -> bool:
            return key in config.ignored_keys or any(pattern.search(key.encode()) for pattern in ignored)

        def is_removed(key: str) -> bool:
            if len(key.encode()) > LONGEST_KEY:
                return True
            return not (config.allow_all_keys or key in listed or is_ignored(key))

        def is_allowed(value: str) -> bool:
            return any(pattern.search(value.encode()) for pattern in allowed)

        detectors = self.detectors()

        def name(key: str) -> str:
            text = key.encode()
            scrubbed = REDACTED if len(text) > LONGEST_KEY else detectors.scrub(text)
            return key if scrubbed is None else scrubbed.decode()

        return Summary(is_ignored, is_removed, is_allowed, name if config.summary == "debug" else None)

    def _key(self) -> bytes:
        secret: str = self.config.hmac_key.get_secret_value()
        return secret.encode()


def _digest(function: str, key: bytes) -> Callable[[bytes], bytes]:
    if function.startswith("hmac-"):
        name = function.removeprefix("hmac-")
        return lambda value: hmac.digest(key, value, name)
    name = "sha3_256" if function == "sha3" else function or "sha256"
    return lambda value: hashlib.new(name, value, usedforsecurity=False).digest()


def _is_enabled(sanitizer: Any) -> bool:
    """`enabled: true` anywhere in it: `db_sanitizer` has one a system."""
    if not isinstance(sanitizer, dict):
        return False
    return sanitizer.get("enabled") is True or any(map(_is_enabled, sanitizer.values()))
