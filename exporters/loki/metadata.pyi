from exporters.loki.attributes import Attributes

class Metadata(Attributes):
    """Base of the encoder, for its parts alone: writes structured metadata."""
