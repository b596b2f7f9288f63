from processors.cardinality_limiter.saved import Saved

class Admission(Saved):
    """Whether one point's series is within the limits."""
