class Walk:
    """Base of `Scrubber`."""
