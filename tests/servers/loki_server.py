"""A real Loki for a test: its push API in, its query API out. It is 2.2.1, the last under the Apache licence."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.servers.backend import Backend, built
from tests.servers.process import free_ports

DAY_S = 86400

Labels = tuple[tuple[str, str], ...]
"""Name and value of each label of a stream, sorted."""
Entry = tuple[Labels, int, str]
"""A stream's labels, nanoseconds since 1970, the line."""


class Loki(Backend):
    """Everything in one process, its write-ahead log on, so that a `kill` costs nothing that it answered 204 for.

    This Loki takes the entries of a stream only in order of time, ones of the same time included, and recognises a copy
    of the newest entry alone. It leaves structured metadata out and knows no OTLP. `limits` are of its `limits_config`,
    where rates and streams have none and old entries are taken unless they say otherwise, `ingester` and `server` of
    those sections. With `tenants` every request must name one.
    """

    _health = "/ready"

    def __init__(
        self,
        folder: Path,
        *,
        tenants: bool = False,
        limits: Mapping[str, Any] | None = None,
        ingester: Mapping[str, Any] | None = None,
        server: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__("loki", folder)
        self._program = built("loki")
        self.port, grpc = free_ports(2)
        self._url = f"http://127.0.0.1:{self.port}"
        self._most = 100_000
        no_limits = {"ingestion_rate_mb": 1000, "ingestion_burst_size_mb": 1000, "max_streams_per_user": 0}
        ring = {"kvstore": {"store": "inmemory"}}
        config = {
            "auth_enabled": tenants,
            "server": {
                "http_listen_address": "127.0.0.1",
                "http_listen_port": self.port,
                "grpc_listen_address": "127.0.0.1",
                "grpc_listen_port": grpc,
                "grpc_server_max_send_msg_size": 1 << 30,  # answers to queries; pushes keep their default
                "log_level": "warn",
                **(server or {}),
            },
            "distributor": {"ring": ring},
            "ingester": {
                "wal": {"enabled": True, "dir": str(folder / "wal")},
                "lifecycler": {
                    "address": "127.0.0.1",
                    "ring": ring | {"replication_factor": 1},
                    "final_sleep": "0s",
                    "min_ready_duration": "0s",
                },
                "max_transfer_retries": 0,
                **(ingester or {}),
            },
            "schema_config": {
                "configs": [
                    {
                        "from": "2000-01-01",
                        "store": "boltdb",
                        "object_store": "filesystem",
                        "schema": "v11",
                        "index": {"prefix": "index_", "period": "168h"},
                    }
                ]
            },
            "storage_config": {
                "boltdb": {"directory": str(folder / "index")},
                "filesystem": {"directory": str(folder / "chunks")},
            },
            "limits_config": {"max_entries_limit_per_query": self._most, **no_limits, **(limits or {})},
            "ruler": {
                "storage": {"type": "local", "local": {"directory": str(folder / "rules")}},
                "rule_path": str(folder / "rules"),
                "ring": ring,
            },
        }
        (folder / "rules").mkdir()
        (folder / "loki.yml").write_text(yaml.safe_dump(config))

    @property
    def url(self) -> str:
        """What stands before `/loki/api/v1/push`."""
        return self._url

    @property
    def push_url(self) -> str:
        """The push API."""
        return f"{self._url}/loki/api/v1/push"

    def _command(self) -> list[str | Path]:
        return [self._program, f"-config.file={self.folder / 'loki.yml'}"]

    def push(self, body: bytes, tenant: str = "") -> tuple[int, str]:
        """Status and text of the answer to a `PushRequest` that is compressed already."""
        headers = {"Content-Type": "application/x-protobuf", **_tenant(tenant)}
        try:
            with urllib.request.urlopen(urllib.request.Request(self.push_url, body, headers), timeout=60) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def entries(
        self, query: str, *, start: float | None = None, end: float | None = None, tenant: str = ""
    ) -> list[Entry]:
        """Every entry that a LogQL query finds, in order of time; copies are there as often as they are stored.

        `start` and `end` are seconds since 1970: 30 days ago and tomorrow unless given. What `| json` adds to the
        labels is among them. Raises `OverflowError` where there may be more than one answer holds.
        """
        found = self._data(
            "query_range", tenant, query=query, limit=self._most, direction="forward", **_span(start, end)
        )
        entries = [
            (tuple(sorted(each["stream"].items())), int(when), line)
            for each in found["result"]
            for when, line in each["values"]
        ]
        if len(entries) >= self._most:
            raise OverflowError("more entries than one answer holds")
        return sorted(entries, key=lambda entry: entry[1])

    def streams(self, selector: str, *, start: float | None = None, end: float | None = None) -> list[Labels]:
        """The labels of each stream that matches, sorted."""
        found = self._data("series", "", match=selector, **_span(start, end))
        return sorted(tuple(sorted(each.items())) for each in found)

    def label_values(self, name: str) -> list[str]:
        """The values that a label has, sorted."""
        return sorted(self._data(f"label/{name}/values", "", **_span(None, None)) or [])

    def _data(self, endpoint: str, tenant: str, **parameters: str | int) -> Any:
        path = f"/loki/api/v1/{endpoint}?{urllib.parse.urlencode(parameters)}"
        request = urllib.request.Request(self._url + path, headers=_tenant(tenant))
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:
                return json.load(reply)["data"]
        except urllib.error.HTTPError as error:
            with error:
                raise RuntimeError(f"Loki answers {error.code}: {error.read().decode()}") from error


def _tenant(name: str) -> dict[str, str]:
    return {"X-Scope-OrgID": name} if name else {}


def _span(start: float | None, end: float | None) -> dict[str, int]:
    now = time.time()
    start = now - 30 * DAY_S if start is None else start
    end = now + DAY_S if end is None else end
    return {"start": round(start * 1e9), "end": round(end * 1e9)}
