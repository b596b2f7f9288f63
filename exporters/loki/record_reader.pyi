from exporters.loki.lines import Lines

class RecordReader(Lines):
    """Base of the encoder: reads records and what is around them."""
