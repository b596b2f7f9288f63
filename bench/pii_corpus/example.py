"""A value, and the labelled text that it is put into."""

from __future__ import annotations

from typing import NamedTuple


class Example(NamedTuple):
    """`text[start:end]` (bytes of UTF-8) is a value of `kind`; with no kind there is nothing in `text`."""

    text: bytes
    kind: str | None
    start: int
    end: int
    note: str
    """Where it comes from: the format of a value, the sort of a negative."""


class Value(NamedTuple):
    """A value of some kind, what belongs around it (`http://`, a port), and the name of its form."""

    text: str
    note: str
    before: str = ""
    after: str = ""
    announced: bool = False
    """Without a word that says what it is, even people could not tell: it stands behind one only."""
