"""A real Prometheus for a test: remote write in, its query API out."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from tests.servers.backend import Backend, built
from tests.servers.process import free_ports

V1 = "prometheus.WriteRequest"
V2 = "io.prometheus.write.v2.Request"
_YEARS = "100y"  # how far a raw selector looks back: everything

Labels = tuple[tuple[str, str], ...]
"""Name and value of each label, sorted, `__name__` among them."""


class Prometheus(Backend):
    """Takes remote write at `write_url`, exemplars and native histograms included.

    `program` is "prometheus" (3.x, for remote write 1.0 and 2.0) or "prometheus-v1" (Debian's, which knows no 2.0: it
    answers it with 204, without the `X-Prometheus-Remote-Write-*-Written` headers, and stores nothing). `messages` are
    the protobuf messages that the newer one takes. `out_of_order` is the `out_of_order_time_window`. `settings` are
    more of prometheus.yml, `arguments` more of the command line.
    """

    _health = "/-/ready"

    def __init__(
        self,
        folder: Path,
        program: str = "prometheus",
        *,
        messages: Iterable[str] = (V1, V2),
        out_of_order: str = "0s",
        exemplars: int = 100_000,
        features: Iterable[str] = ("exemplar-storage", "native-histograms"),
        settings: dict[str, Any] | None = None,
        arguments: Iterable[str] = (),
    ) -> None:
        super().__init__(program, folder)
        self._program = built(program)
        (self.port,) = free_ports(1)
        self._url = f"http://127.0.0.1:{self.port}"
        self._features = ",".join(features)
        self._arguments = list(arguments)
        if program == "prometheus":
            self._arguments += [f"--web.remote-write-receiver.accepted-protobuf-messages={each}" for each in messages]
        storage = {
            "tsdb": {"out_of_order_time_window": out_of_order},
            "exemplars": {"max_exemplars": exemplars},
        }
        config = {"global": {"scrape_interval": "1h"}, "storage": storage, **(settings or {})}
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))

    @property
    def url(self) -> str:
        return self._url

    @property
    def write_url(self) -> str:
        """Where remote write goes."""
        return f"{self._url}/api/v1/write"

    def _command(self) -> list[str | Path]:
        return [
            self._program,
            f"--config.file={self.folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self.folder / 'data'}",
            "--storage.tsdb.retention.time=100y",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--web.enable-remote-write-receiver",
            f"--enable-feature={self._features}",
            *self._arguments,
        ]

    def query(self, promql: str, at: float) -> Any:
        """`result` of an instant query at that Unix time in seconds, as the API gives it."""
        return self._data("query", query=promql, time=at)["result"]

    def query_range(self, promql: str, start: float, end: float, step: float) -> Any:
        """`result` of a range query, times in seconds."""
        return self._data("query_range", query=promql, start=start, end=end, step=step)["result"]

    def samples(self, selector: str, until: float) -> dict[Labels, list[tuple[int, float]]]:
        """Every stored float sample, up to that Unix time in seconds, of the series that match.

        By the labels of its series: (Unix milliseconds, value), in order. Stale markers don't show.
        """
        found = self._raw(selector, until)
        return {_labels(each): [(_ms(t), float(v)) for t, v in each["values"]] for each in found if "values" in each}

    def histograms(self, selector: str, until: float) -> dict[Labels, list[tuple[int, dict[str, Any]]]]:
        """The same for native histograms, in the API's form.

        That has `count` and `sum` as text and `buckets` as [how the bounds are meant, lower, upper, count].
        """
        found = self._raw(selector, until)
        return {_labels(each): [(_ms(t), h) for t, h in each["histograms"]] for each in found if "histograms" in each}

    def exemplars(self, selector: str, start: float, end: float) -> dict[Labels, list[tuple[int, float, Labels]]]:
        """By the labels of its series: (Unix milliseconds, value, labels of the exemplar), in order of time."""
        found = self._data("query_exemplars", query=selector, start=start, end=end)
        return {
            tuple(sorted(series["seriesLabels"].items())): [
                (_ms(each["timestamp"]), float(each["value"]), tuple(sorted(each["labels"].items())))
                for each in series["exemplars"]
            ]
            for series in found
        }

    def metric(self, name: str) -> float:
        """Sum of a metric of Prometheus itself, over its labels."""
        lines = self.get("/metrics").decode().splitlines()
        values = [line.rsplit(" ", 1)[1] for line in lines if line.split("{")[0].split(" ")[0] == name]
        return sum(map(float, values))

    def _raw(self, selector: str, until: float) -> Any:
        return self.query(f"{selector}[{_YEARS}]", until)

    def _data(self, endpoint: str, **parameters: str | float) -> Any:
        return self.get_json(f"/api/v1/{endpoint}", **parameters)["data"]


def _labels(series: dict[str, Any]) -> Labels:
    return tuple(sorted(series["metric"].items()))


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
