from processors.cardinality_limiter.folding import Folding
from processors.cardinality_limiter.offenders import Offenders
from processors.cardinality_limiter.rules import Rules

class Limiter(Folding):
    """What is active, what was folded into what, and the walk that keeps requests within the limits.

    `key` is the secret of the hashes, 16 bytes, made up where it isn't given. Not for several threads at once.
    """

    active: int
    """Series that pass as they are."""
    removed: int
    """Points that the last request lost,"""
    dropped: int
    """those of them that are in no other point,"""
    sent: int
    """and points that stand for the others."""
    offenders: Offenders

    def __init__(
        self,
        rules: Rules,
        *,
        window_ns: int,
        max_series: int,
        max_metrics: int,
        max_aggregates: int,
        max_state: int,
        max_exemplars: int = 8,
        max_offenders: int = 512,
        key: bytes | None = None,
    ) -> None: ...
    def limit_request(self, payload: bytes, tenant: bytes = b"") -> bytes | None:
        """One `ExportMetricsServiceRequest` within the limits, or None when nothing of it changes.

        All else is as it was, byte by byte. Raises `Malformed` where the bytes can't be walked.
        """
    def pass_time(self, elapsed_ns: int) -> None:
        """So much time has passed, of which no more than a 16th of the window counts. Forgets what isn't active."""
    def take_counts(self) -> dict[tuple[str, str], int]:
        """Points refused since the last call, by (limit, action)."""
    def metric_rows(self) -> list[tuple[bytes, int, int, int, int, int]]:
        """(name, series, series made by removing labels, series made at all, limit, points refused) of each metric."""
    def state_pieces(self) -> list[bytes]:
        """All that decides what becomes of the next point, but for the offenders; in pieces of some 100 KB."""
    def load_state(self, blob: bytes) -> None:
        """Go on where `state_pieces` was called, given all of them joined, maybe under other limits: what was admitted stays. Only before the first
        request. Raises `ValueError`; the limiter is then void."""
    @property
    def memory(self) -> int:
        """Bytes of all tables."""
    @property
    def state_bytes(self) -> int:
        """Those of members and aggregates."""
    @property
    def metrics(self) -> int:
        """Names of metrics that are active."""
    @property
    def folded(self) -> int:
        """Cumulative series that are folded into others."""
    @property
    def aggregated(self) -> int:
        """Series that re-aggregation made."""
