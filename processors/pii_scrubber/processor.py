"""`pii_scrubber`: personal data and credentials leave no batch that passes through."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from collector.api import ButterflyError, Malformed, Processor, Signal
from processors.pii_scrubber import checks, pepper
from processors.pii_scrubber.actions import CUSTOM, Action, What
from processors.pii_scrubber.detect import FIRST_CUSTOM, CustomPattern, ValueDetectors
from processors.pii_scrubber.explain import Change, Explainer
from processors.pii_scrubber.key_rules import KeyRule, KeyRules
from processors.pii_scrubber.options import PiiScrubberOptions
from processors.pii_scrubber.presets import PRESETS
from processors.pii_scrubber.scrubber import KINDS_BY_NUMBER, Scrubber

if TYPE_CHECKING:
    from collections.abc import Iterable

    from collector.api import Batch, BuildContext

UNREADABLE = "pii_unreadable"
"""Why a batch is removed whose bytes can't be walked; receivers have refused such bytes before."""


class UnreadyError(ButterflyError):
    """The scrubber can't work yet, so nothing passes. Senders are told to come again."""


class ScrubbingProcessor(Processor):
    """What the two scrubbing processors share: the same walk over all signals, counted; nothing passes unscrubbed."""

    signals = frozenset(Signal)
    pure = True

    def __init__(self, config: Any, context: BuildContext) -> None:
        super().__init__(config, context)
        self._scrubber: Scrubber | None = None
        self._findings = context.meter.counter("butterfly_pii_findings_total")
        self._failures = context.meter.counter("butterfly_pii_failed_closed_total")

    def rules(self) -> KeyRules:
        """Which key gets which action."""
        raise NotImplementedError

    def detectors(self) -> ValueDetectors:
        """What looks at values."""
        raise NotImplementedError

    def make(self) -> Scrubber:
        """The scrubber. Raises `UnreadyError` while it can't be made."""
        raise NotImplementedError

    def process(self, batch: Batch) -> Iterable[Batch]:
        """The batch itself where there is nothing to scrub, else one with a new payload."""
        if self._scrubber is None:
            self._scrubber = self.make()
        try:
            payload = self._scrubber.scrub(batch.signal.value, batch.to_bytes())
        except Malformed:
            self._failures.labels(self.id, "malformed").inc()
            return (batch.replace(b"", count=0, reason=UNREADABLE),)
        if payload is None:
            return (batch,)
        self._count(self._scrubber)
        return (batch.replace(payload, count=len(batch)),)

    def explain_scrubbing(self, signal: Signal, payload: bytes) -> tuple[list[Change], bytes]:
        """What would change in a request and by which rule, and the request as it would go on."""
        scrubber = self.make()
        scrubbed = scrubber.scrub(signal.value, payload)
        new = payload if scrubbed is None else scrubbed
        return Explainer(self.rules(), self.detectors(), self.kind_name).changes(signal, payload, new), new

    def kind_name(self, kind: int) -> str:
        """What reports call a kind of finding."""
        return KINDS_BY_NUMBER.get(kind, CUSTOM)

    def _count(self, scrubber: Scrubber) -> None:
        findings, failures = scrubber.take_counts()
        for rule, count in findings.items():
            self._findings.labels(self.id, rule).inc(count)
        for reason, count in failures.items():
            self._failures.labels(self.id, reason).inc(count)


class PiiScrubber(ScrubbingProcessor):
    """Hashes, masks, shortens or redacts what is personal, in every string of every signal. See
    docs/components/pii_scrubber.md.

    Which value changes is settled by its key's rule, else by detectors that look into every text.
    """

    Config = PiiScrubberOptions

    def __init__(self, config: PiiScrubberOptions, context: BuildContext) -> None:
        super().__init__(config, context)
        self._waiting = False
        if not pepper.is_in_file(config):
            self._scrubber = self.make()

    @classmethod
    def problems(cls, config: PiiScrubberOptions) -> list[tuple[tuple[str | int, ...], str]]:
        """See `Component`."""
        return checks.problems(config)

    @classmethod
    def warnings(cls, config: PiiScrubberOptions) -> list[tuple[tuple[str | int, ...], str]]:
        """See `Component`."""
        return checks.warnings(config)

    def rules(self) -> KeyRules:
        return KeyRules([*map(_rule, self.config.rules), *PRESETS[self.config.preset]])

    def detectors(self) -> ValueDetectors:
        config = self.config
        custom = [
            CustomPattern(each.name, each.pattern, (f"[{each.name}]" if each.mask is None else each.mask).encode())
            for each in config.custom_patterns
        ]
        return ValueDetectors(config.detect, custom, allowed_values=config.allowed_values)

    def make(self) -> Scrubber:
        config = self.config
        try:
            secret = pepper.current(config) if checks.hashes(config) else None
        except pepper.PepperError as error:
            if not self._waiting:
                self._waiting = True
                self.context.log.error("nothing passes: %s", error)  # noqa: TRY400 - a traceback would name the file
            raise UnreadyError(str(error)) from None
        if self._waiting:
            self._waiting = False
            self.context.log.info("the pepper is there")
        return Scrubber(
            self.detectors(),
            self.rules(),
            digest=_no_digest if secret is None else secret.digest,
            prefix=b"" if secret is None else secret.prefix,
            longest=config.max_value_size,
            numbers=config.redact_all_types,
        )

    def kind_name(self, kind: int) -> str:
        """What reports call a kind of finding: a custom pattern by its own name."""
        return (
            KINDS_BY_NUMBER[kind] if kind in KINDS_BY_NUMBER else self.config.custom_patterns[kind - FIRST_CUSTOM].name
        )


def _rule(rule: Any) -> KeyRule:
    return KeyRule(rule.keys, Action(What[rule.action.upper()], rule.mask.encode()), rule.patterns)


def _no_digest(value: bytes) -> bytes:
    """Where no rule hashes there is no pepper."""
    del value
    raise RuntimeError("no rule hashes")
