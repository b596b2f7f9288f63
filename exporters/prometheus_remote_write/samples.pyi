import numpy as np
from numpy.typing import NDArray

from exporters.prometheus_remote_write.series import SeriesTable

class SampleTable(SeriesTable):
    """The series and samples of one staged request, made by `Translator.translate`.

    Samples stand in an order of their own: lane by lane (`lanes`, a list of (begin, end)), in a lane first the earliest
    sample of every series, then the second ones, and so on. A request is a range of that order, and so is each half of
    one; `next` ends it before a series comes again in it. A request that is sent twice is thus taken twice: each of its
    samples is the newest of its series, and Prometheus takes that again, but nothing older.
    """

    lanes: list[tuple[int, int]]
    exemplars_cut: int
    """Labels of exemplars that didn't fit the 128 characters."""
    duplicates: int
    """Samples that were there twice."""
    infos_refused: int
    """Samples of `target_info`, which are no data points and have no row."""

    @property
    def rows(self) -> int:
        """Data points of the request."""
    @property
    def reasons(self) -> NDArray[np.uint8]:
        """One byte a row: 0, or the number of the word in `reasons.py` for which the row was refused. A copy."""
    def refuse_range(self, begin: int, end: int, reason: int) -> None:
        """Refuse the rows behind the samples `begin` to `end`."""
    def next(self, begin: int, end: int, most_samples: int, most_bytes: int) -> int:
        """Where a request that begins at `begin` ends: within both limits and before a series comes again, but one
        sample at least."""
    def counts(self, begin: int, end: int) -> tuple[int, int, int]:
        """(samples, histograms, exemplars) of a range."""
