"""What can happen to the value of an attribute, as numbers that the compiled walk knows."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple


class What(IntEnum):
    """What an action does with a value. Nested values: with every one inside, except REDACT and DELETE."""

    DETECT = 0
    """Value detectors look at it: what happens where no rule says otherwise."""
    IGNORE = 1
    """Nothing."""
    HASH = 2
    """A keyed hash takes its place."""
    LENGTH = 3
    """The number of its characters takes its place."""
    MASK = 4
    """An address is cut to its network; anything else becomes the mask. A rule's own mask takes all."""
    REDACT = 5
    """`[redacted]` takes the place of the whole value."""
    DELETE = 6
    """The attribute goes."""
    MASK_IP = 7
    """An address is cut to its network; anything else is DETECT."""
    SHAPE = 8
    """A tensor's shape stays; anything else is DETECT."""
    UNLISTED = 9
    """The key isn't on the list of allowed ones: DELETE for an attribute and in a body, DETECT inside of a value."""


class Action(NamedTuple):
    """What to do. `mask` takes the place of the value of a MASK; empty: see `What.MASK`."""

    what: What
    mask: bytes = b""


DETECT = Action(What.DETECT)
REDACTED = b"[redacted]"
MASKED = b"****"

RULES = ("hash", "length", "mask", "redact", "delete")
"""Rules by which a value is changed whatever it is, in the order in which the walk counts them."""
FAILURES = ("bad_utf8", "too_deep", "too_long", "long_key", "internal", "bad_id", "unknown_field")
"""Why a value was redacted, emptied or dropped though no rule said so, in the order in which the walk counts them."""
CUSTOM = "custom"
"""What the metrics call a finding of a pattern that has no name of ours."""
