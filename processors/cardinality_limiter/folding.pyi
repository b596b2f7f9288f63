from processors.cardinality_limiter.admission import Admission

class Folding(Admission):
    """What becomes of a point whose series is over a limit."""
