from collections.abc import Iterator, MutableMapping

AttributeValue = str | bool | int | float | bytes | list["AttributeValue"] | dict[str, "AttributeValue"] | None

class Attributes(MutableMapping[str, AttributeValue]):
    """Attributes as a mapping; the last of repeated keys wins, as in most backends. Only the key asked for is decoded.

    Lists and dicts are copies: assign them back to change them. Setting raises `TypeError` and `ValueError` for what an
    attribute can't hold: other types, integers beyond 64 bits, surrogates, values nested more than 32 deep.
    """

    def __getitem__(self, key: str) -> AttributeValue: ...
    def __setitem__(self, key: str, value: AttributeValue) -> None: ...
    def __delitem__(self, key: str) -> None: ...
    def __iter__(self) -> Iterator[str]: ...
    def __len__(self) -> int: ...

class ItemView:
    """One span, data point or log record, decoded field by field as it is asked for. Assignments are recorded; the
    payload stays as it is.

    Everything here raises `Malformed` where the payload isn't OTLP, which a receiver has excluded.
    """

    @property
    def row(self) -> int:
        """The item's row in the index."""
    @property
    def changed(self) -> bool:
        """Whether anything was assigned or deleted."""
    @property
    def attributes(self) -> Attributes: ...
    @property
    def resource(self) -> Attributes:
        """The resource's attributes, shared by all its items and read-only."""
    def to_bytes(self) -> bytes:
        """The message with the recorded changes; fields that were not changed keep their very bytes."""
