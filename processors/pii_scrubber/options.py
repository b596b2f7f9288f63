"""The options of `pii_scrubber`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from collector.api import Options, Secret, Size, option
from processors.pii_scrubber.detect.kinds import KIND_NAMES

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
KeyId = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,32}$")]


class RuleOptions(Options):
    """What happens to the values of some keys. The first rule that names a key decides."""

    keys: list[str] = option([], about="Keys, exactly or with `*` for any run of characters.", max_length=4096)
    patterns: list[str] = option([], about="RE2 patterns that match anywhere in a key.", max_length=256)
    action: Literal["hash", "length", "mask", "redact", "delete", "ignore", "detect"] = option(
        about="What happens to the value."
    )
    mask: str = option(
        "", about="Of `mask`: what stands in for the value; empty cuts addresses to their network.", max_length=64
    )


class PatternOptions(Options):
    """A pattern of one's own for values, beside the built-in kinds."""

    name: Name = option(about="What reports call it; the metrics say `custom`.")
    pattern: str = option(about="RE2. With capture groups, only what they hold is masked.", min_length=1)
    mask: str | None = option(None, about="What stands in for a match; absent: `[<name>]`.", max_length=64)


class PepperOptions(Options):
    """One of several peppers, under the name that stands before its hashes."""

    key_id: KeyId = option(about="Its name.")
    pepper: Secret = option(Secret(""), about="The secret itself.")
    pepper_file: str = option("", about="A file that holds it; white space at its ends doesn't count.")


class PiiScrubberOptions(Options):
    """`pii_scrubber`."""

    preset: Literal["butterfly", "none"] = option("butterfly", about="Key rules that come after those of `rules`.")
    rules: list[RuleOptions] = option([], about="Key rules, in order.", max_length=256)
    detect: list[Literal[KIND_NAMES]] = option(  # type: ignore[valid-type]  # the names are a tuple of constants
        list(KIND_NAMES), about="Kinds of values that are looked for."
    )
    custom_patterns: list[PatternOptions] = option([], about="Patterns of one's own for values.", max_length=256)
    allowed_values: list[str] = option(
        [], about="RE2 patterns; what lies inside of a match is left as it is by the detectors.", max_length=256
    )
    redact_all_types: bool = option(False, about="Let detectors look at numbers too, as text.")
    pepper: Secret = option(Secret(""), about="Secret of the hashes, 16 bytes at least.")
    pepper_file: str = option("", about="A file that holds it; white space at its ends doesn't count.")
    key_id: KeyId = option("k1", about="Name of the current pepper; stands before every hash.")
    peppers: list[PepperOptions] = option(
        [], about="Several peppers; `key_id` says which is current. Instead of `pepper`.", max_length=16
    )
    ephemeral_pepper: bool = option(
        False, about="Make one up where none is given: hashes then agree within one process's life alone."
    )
    max_value_size: Size = option(
        256 << 10, about="A longer value in which something may be found is redacted whole.", gt=0, le=64 << 20
    )
