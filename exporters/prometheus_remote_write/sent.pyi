from exporters.prometheus_remote_write.samples import SampleTable

class SentSamples:
    """Two generations of hashes: what is noted goes into the recent one, and both are looked into."""

    @property
    def count(self) -> int:
        """Samples that are remembered."""
    @property
    def room(self) -> int:
        """Samples that the recent generation still takes."""
    @property
    def slots(self) -> int:
        """Slots of the recent generation: three quarters of them are used at the most."""
    def begin(self, slots: int) -> None:
        """Begin a generation of that many slots, a power of two. The recent one becomes the older, which is forgotten."""
    def load(self, entries: bytes) -> None:
        """Note what `note` returned, as far as there is room; bytes at the end that are no whole entry are left."""
    def grow(self, slots: int, entries: bytes) -> None:
        """Give the recent generation that many slots. `entries` is all that was noted in it: the table holds but a half
        of each hash."""
    def sift(self, table: SampleTable, begin: int, end: int) -> int:
        """Take the samples that are known out of the range, whose others keep their order. Its new end."""
    def note(self, table: SampleTable, begin: int, end: int) -> bytes:
        """Note the samples of a range; their entries, to be kept in a file. Raises `ValueError` without the room."""
