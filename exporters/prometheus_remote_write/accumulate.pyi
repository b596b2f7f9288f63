class Accumulator:
    """Totals by the identity of their series, at most `most` of them; one that got nothing for `stale_ns` is forgotten
    when room is needed or at the next sweep.
    """

    count: int
    """Totals that are held."""
    duplicates: int
    """Deltas that were added before and came again."""

    def __init__(self, most: int, stale_ns: int) -> None: ...
    def load(self, name: bytes, row: bytes) -> None:
        """Take back what `take_changes` gave for one series. Raises `ValueError` for anything else."""
    def take_changes(self) -> tuple[list[tuple[bytes, bytes]], list[tuple[bytes]]]:
        """([(name, row)] of the series that changed, [(name,)] of those that are forgotten), since the last time."""
