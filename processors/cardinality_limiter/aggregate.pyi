class Aggregate:
    """A series that re-aggregation makes."""

    group: int
    members: int
    reduced: bool
