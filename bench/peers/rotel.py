"""rotel, from its wheel: receive, batch, forward. It always compresses what it sends."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from bench.peers import alone

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from bench.peers import Place
    from bench.processes import Together
    from bench.rows import Row


def _binary() -> Path | None:
    spec = find_spec("rotel")
    path = Path(spec.origin).parent / "rotel-agent" if spec and spec.origin else None
    return path if path and path.exists() else None


class Rotel:
    """A Rust agent without a tail sampler and without a durable buffer."""

    name = "rotel"

    def missing(self) -> str | None:
        return None if _binary() else "its wheel isn't installed (extra `bench`)"

    def plays(self, row: Row) -> Row | None:
        if row.workload in {"full", "full-no-pii", "kafka"}:
            return row.bare
        return row if row.workload in {"null", "pass"} else None

    def running(self, row: Row, place: Place, core: int) -> AbstractContextManager[Together]:
        return alone(self.command(row, place), place, core)

    def command(self, row: Row, place: Place) -> list[str]:
        command = [str(_binary()), "start", "--otlp-grpc-endpoint", f"127.0.0.1:{place.listen}"]
        command += ["--otlp-http-endpoint", f"127.0.0.1:{place.spare}"]
        if row.workload == "null":
            return [*command, "--exporter", "blackhole"]
        return [*command, "--exporter", "otlp", "--otlp-exporter-endpoint", f"http://127.0.0.1:{place.sink}"]
