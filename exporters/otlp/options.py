"""What the `otlp` exporter can be told, with the Collector's names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, ConfigDict

from collector.api import ClientTlsOptions, Duration, ExporterOptions, Options, Secret, Signal, option, seconds

_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HEADER_VALUE = re.compile(r"[\x20-\x7e\t]*")
_RESERVED = frozenset(
    {"content-type", "content-length", "content-encoding", "host", "te", "transfer-encoding"}
    | {"connection", "keep-alive", "proxy-connection", "upgrade"}  # HTTP/2 has none of these
)
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class Target:
    """Where an endpoint points: `scheme` is `http`, `https` or empty, `path` is empty or begins with a
    slash.
    """

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """`host:port`, IPv6 in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """Whether this is the same machine by name."""
        return self.host in _LOOPBACK


def parse_target(endpoint: str) -> Target:
    """Take `host:port` or `http(s)://host[:port][/path]` apart. Raises `ValueError`."""
    wrong = ValueError("expected host:port or http(s)://host:port")
    scheme = endpoint.partition("://")[0] if "://" in endpoint else ""
    try:
        parts = urlsplit(endpoint if scheme else f"//{endpoint}")
        port = parts.port
    except ValueError:
        raise wrong from None
    odd = parts.username or parts.password or parts.query or parts.fragment or re.search(r"\s", endpoint)
    if scheme not in {"", "http", "https"} or not parts.hostname or odd:
        raise wrong
    if port is None:
        if not scheme:
            raise wrong
        port = 443 if scheme == "https" else 80
    return Target(scheme, parts.hostname, port, parts.path.rstrip("/"))


def _checked_endpoint(value: str) -> str:
    if value:
        parse_target(value)
    return value


def _checked_headers(headers: dict[str, Secret]) -> dict[str, Secret]:
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name) or name.lower() in _RESERVED or name.lower().startswith("grpc-"):
            raise ValueError("expected names of HTTP headers that the exporter does not set itself")
        if not _HEADER_VALUE.fullmatch(value.get_secret_value()):
            raise ValueError("expected printable ASCII in the values of headers")
    return headers


Endpoint = Annotated[str, AfterValidator(_checked_endpoint)]
Headers = Annotated[dict[str, Secret], AfterValidator(_checked_headers)]


class TlsOptions(ClientTlsOptions):
    """`tls`: how the backend is recognised, and how it recognises us."""

    insecure: bool = option(False, about="Plaintext. An `https://` endpoint overrides it.")
    insecure_skip_verify: bool = option(False, about="Encrypt, but trust any certificate; protocol http only.")


class KeepaliveOptions(Options):
    """`keepalive`: pings on an idle connection."""

    time: Duration = option(seconds(10), about="Idle time before a ping.", ge=seconds(1))
    timeout: Duration = option(seconds(10), about="Time to wait for its answer.", gt=0)
    permit_without_stream: bool = option(False, about="Ping even when no request is under way.")


class OtlpOptions(ExporterOptions):
    """Options of `otlp`."""

    model_config = ConfigDict(hide_input_in_errors=True)  # headers hold secrets

    endpoint: Endpoint = option("localhost:4317", about="host:port, or a URL; its `https` asks for TLS.", min_length=1)
    protocol: Literal["grpc", "http"] = option("grpc", about="OTLP over gRPC or over HTTP.")
    traces_endpoint: Endpoint = option("", about="Whole URL for traces, protocol http; else endpoint + /v1/traces.")
    metrics_endpoint: Endpoint = option("", about="Whole URL for metrics, protocol http; else endpoint + /v1/metrics.")
    logs_endpoint: Endpoint = option("", about="Whole URL for logs, protocol http; else endpoint + /v1/logs.")
    tls: TlsOptions = option(TlsOptions(), about="Encryption, on unless `insecure` is set.")
    headers: Headers = option({}, about="Headers (gRPC: metadata) sent with every request.")
    compression: Literal["gzip", "zstd", "none"] = option("gzip", about="zstd needs protocol http.")
    keepalive: KeepaliveOptions | None = option(
        None, about="Pings on an idle connection, protocol grpc; none by default."
    )

    def own_endpoint(self, signal: Signal) -> str:
        """The URL that is for this signal alone, or nothing."""
        own: str = getattr(self, f"{signal.value}_endpoint")
        return own

    def target(self, signal: Signal) -> Target:
        """Where requests of this signal go."""
        return parse_target(self.own_endpoint(signal) or self.endpoint)

    def secure(self, signal: Signal) -> bool:
        """Whether requests of this signal are encrypted."""
        scheme = self.target(signal).scheme
        return scheme == "https" or (scheme != "http" and not self.tls.insecure)
