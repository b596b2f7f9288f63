from processors.cardinality_limiter.known import Known

class Saved(Known):
    """Known series that outlive a restart."""
