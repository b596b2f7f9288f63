class SymbolTable:
    """Symbols: the same text always gets the same number, and the empty one gets 0.

    `key`: the 32 secret bytes of the hashes. Raises `ValueError` for a key of another length.
    """

    def __init__(self, key: bytes) -> None: ...
