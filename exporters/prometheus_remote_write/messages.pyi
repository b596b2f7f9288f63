from exporters.prometheus_remote_write.samples import SampleTable

class Messages:
    """Writes the messages of one table."""

    def __init__(self, table: SampleTable) -> None: ...
    def write_v1(self, begin: int, end: int, metadata: bool = False) -> bytes:
        """`prometheus.WriteRequest` of a range, with the metadata of its families where it is asked for."""
    def write_v2(self, begin: int, end: int) -> bytes:
        """`io.prometheus.write.v2.Request` of a range."""
