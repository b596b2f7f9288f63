class Rows:
    """Read-only columns of equal length; what they are is the subclass's affair."""

    count: int
