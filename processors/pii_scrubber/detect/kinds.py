"""What can be found in a value, and by which name the configuration, the metrics and the replacements call it."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple


class Kind(IntEnum):
    """A built-in kind; its name in lower case is the one in the configuration and in `[<kind>]`."""

    EMAIL = 1
    PHONE = 2
    CARD = 3
    IBAN = 4
    IPV4 = 5
    IPV6 = 6
    CLOUD_KEY = 7
    """AWS, Google, Azure, DigitalOcean and Vault credentials that have a form of their own."""
    API_KEY = 8
    """Tokens with a vendor's prefix: GitHub, GitLab, Slack, Stripe, OpenAI, ..."""
    JWT = 9
    PRIVATE_KEY = 10
    """A PEM block, from BEGIN to END; one that is cut off, to the end of the value."""
    SECRET = 11
    """What is assigned to `password`, `token`, `api_key`, ...; what follows `Bearer`; the password in a URL."""


KIND_NAMES = tuple(kind.name.lower() for kind in Kind)

BLOCKED = 12
"""The kind of what one of `blocked_values` matched."""

FIRST_CUSTOM = 16
"""The kind of the first custom pattern; the others follow in order."""


class Finding(NamedTuple):
    """Bytes `[start, end)` of a value that must not go on. `kind`: a `Kind`, `BLOCKED`, or `FIRST_CUSTOM` + n."""

    start: int
    end: int
    kind: int
