from exporters.loki.metadata import Metadata

class Lines(Metadata):
    """Base of the encoder, for its parts alone: writes lines."""
