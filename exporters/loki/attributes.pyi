class Attributes:
    """Base of the encoder, for its parts alone: reads attributes and knows their keys."""
