"""A real VictoriaLogs for a test: Loki's push API in (and OTLP), LogsQL out."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from tests.servers.backend import Backend, built
from tests.servers.process import free_ports


class VictoriaLogs(Backend):
    """Takes what one would push to Loki: `push_url` is protobuf with snappy, structured metadata included.

    Entries of any age are taken. A label of a stream and a piece of structured metadata are both a field of an entry
    here; `streams` tells the labels. An entry over 2 MB is answered with 204 and dropped, as is a field without a
    value, `_msg` among them. `parse` lets it take JSON lines apart, which Loki doesn't do. What it has taken survives
    a `stop`, and a `kill` when it is older than a second.
    """

    _health = "/health"

    def __init__(self, folder: Path, *, parse: bool = False, arguments: tuple[str, ...] = ()) -> None:
        super().__init__("victoria-logs", folder)
        self._program = built("victoria-logs")
        (self.port,) = free_ports(1)
        self._url = f"http://127.0.0.1:{self.port}"
        self._arguments = [f"-loki.disableMessageParsing={'false' if parse else 'true'}", *arguments]

    @property
    def url(self) -> str:
        """What stands before `/loki/api/v1/push` for a client of Loki."""
        return f"{self._url}/insert"

    @property
    def push_url(self) -> str:
        """Loki's push API."""
        return f"{self.url}/loki/api/v1/push"

    @property
    def otlp_url(self) -> str:
        """Logs as OTLP over HTTP in protobuf."""
        return f"{self.url}/opentelemetry/v1/logs"

    def _command(self) -> list[str | Path]:
        return [
            self._program,
            f"-storageDataPath={self.folder / 'data'}",
            f"-httpListenAddr=127.0.0.1:{self.port}",
            "-retentionPeriod=100y",
            "-futureRetention=100y",
            "-inmemoryDataFlushInterval=1s",
            "-search.maxQueryDuration=600s",
            "-defaultMsgValue=",
            *self._arguments,
        ]

    def entries(self, query: str = "*") -> list[dict[str, str]]:
        """Every entry that a LogsQL query finds (`*` all, `{node="n-1"}` a stream, `trace_id:=abc` by a field).

        The line is `_msg`, the time `_time` (RFC 3339, nanoseconds), the labels `_stream`; each label and each piece
        of structured metadata is a field of its own. In no order. What was pushed a moment ago is found.
        """
        return [json.loads(line) for line in self.lines(query)]

    def lines(self, query: str = "*") -> Iterator[bytes]:
        """The same as JSON, one after the other, however many there are."""
        self.get("/internal/force_flush")
        body = urllib.parse.urlencode({"query": query, "timeout": "600s"}).encode()
        with urllib.request.urlopen(f"{self._url}/select/logsql/query", body, timeout=600) as reply:
            yield from (line for line in reply if line.strip())

    def count(self, query: str = "*") -> int:
        """How many entries it finds."""
        self.get("/internal/force_flush")
        answer = self.get("/select/logsql/query", query=f"{query} | stats count() as found")
        return int(json.loads(answer)["found"])

    def streams(self, query: str = "*") -> list[str]:
        """The labels of each stream as text, `{a="1",b="2"}`, sorted."""
        self.get("/internal/force_flush")
        found = self.get_json("/select/logsql/streams", query=query, start="1970-01-01T00:00:00Z")
        return sorted(each["value"] for each in found["values"])
