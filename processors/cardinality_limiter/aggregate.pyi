class Member:
    """A cumulative series that is folded: its newest point."""

class Aggregate:
    """A series that re-aggregation makes."""

    group: int
    members: int
    reduced: bool
