"""What the YAML says of an `otlp` receiver, with the Collector's names where it has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator

from collector.api import Duration, Options, Secret, Size, option, seconds
from receivers.otlp.listen import Endpoint

if TYPE_CHECKING:
    from collections.abc import Callable


def _checked(value: str) -> str:
    Endpoint.parse(value)
    return value


def _null_is(default: dict[str, Any]) -> Callable[[Any], Any]:
    """`grpc:` with nothing after it turns the protocol on with its defaults, as in the Collector."""
    return lambda value: default if value is None else value


Address = Annotated[str, AfterValidator(_checked)]


class TlsOptions(Options):
    """`tls`: serve with a certificate, and ask senders for theirs."""

    cert_file: str = option(about="PEM file of the certificate and its chain.")
    key_file: str = option(about="PEM file of the private key.")
    client_ca_file: str | None = option(
        None, about="PEM file of the authorities whose client certificates are required."
    )
    min_version: Literal["1.2", "1.3"] = option("1.2", about="Oldest TLS version (HTTP; gRPC is 1.2 at least).")


class KeepaliveServerParameters(Options):
    """`keepalive.server_parameters`: pings and the age of connections. 0 leaves gRPC's own default."""

    max_connection_idle: Duration = option(0, about="Close a connection without requests after this long.")
    max_connection_age: Duration = option(0, about="Ask senders to reconnect after this long (balances load).")
    max_connection_age_grace: Duration = option(0, about="Time for requests in flight at the end of that age.")
    time: Duration = option(0, about="Ping a silent connection after this long.")
    timeout: Duration = option(0, about="Close it when the ping isn't answered within this long.")


class KeepaliveEnforcementPolicy(Options):
    """`keepalive.enforcement_policy`: how often senders may ping."""

    min_time: Duration = option(seconds(300), about="Shortest time between a sender's pings.", gt=0)
    permit_without_stream: bool = option(False, about="Allow pings while no request is open.")


class KeepaliveOptions(Options):
    """`keepalive`: see the two groups."""

    server_parameters: KeepaliveServerParameters = option(KeepaliveServerParameters(), about="What we do.")
    enforcement_policy: KeepaliveEnforcementPolicy = option(KeepaliveEnforcementPolicy(), about="What senders may do.")


class GrpcOptions(Options):
    """`protocols.grpc`."""

    endpoint: Address = option("localhost:4317", about="Address and port to listen on.")
    max_recv_msg_size_mib: int = option(4, about="Largest request, decompressed, in MiB.", gt=0, le=512)
    max_concurrent_streams: int = option(100, about="Requests open at once on one connection.", gt=0)
    max_metadata_size: Size = option(16 << 10, about="Bytes of a request's headers.", ge=1024, le=1 << 20)
    max_requests: int = option(
        2048, about="Requests that wait for their message or their answer at once; more are asked to come back.", gt=0
    )
    read_timeout: Duration = option(seconds(10), about="Time for a request's message to arrive.", gt=0)
    keepalive: KeepaliveOptions = option(KeepaliveOptions(), about="Pings and connection age.")
    tls: TlsOptions | None = option(None, about="Serve TLS; plaintext without it.")


class CorsOptions(Options):
    """`cors`: let pages of these origins send from a browser."""

    allowed_origins: list[str] = option(
        about="Origins such as https://app.example; `*` matches any text in one.", min_length=1
    )
    allowed_headers: list[str] = option([], about="Request headers beyond the safe-listed and Content-Type.")
    max_age: int = option(0, about="Seconds that a browser may remember the permission.", ge=0)


class HttpOptions(Options):
    """`protocols.http`."""

    endpoint: Address = option("localhost:4318", about="Address and port to listen on.")
    traces_url_path: str = option("/v1/traces", about="Path that takes traces.", pattern="^/[!-~]*$")
    metrics_url_path: str = option("/v1/metrics", about="Path that takes metrics.", pattern="^/[!-~]*$")
    logs_url_path: str = option("/v1/logs", about="Path that takes logs.", pattern="^/[!-~]*$")
    max_request_body_size: Size = option(20 << 20, about="Largest body, decompressed.", gt=0, le=512 << 20)
    max_connections: int = option(1024, about="Connections at once; past that, silent ones are closed.", gt=0)
    read_timeout: Duration = option(seconds(10), about="Time for a request's body to arrive.", gt=0)
    read_header_timeout: Duration = option(seconds(5), about="Time for a request's headers to arrive.", gt=0)
    idle_timeout: Duration = option(seconds(60), about="Close a connection without requests after this.", gt=0)
    cors: CorsOptions | None = option(None, about="Browsers that may send; none without it.")
    tls: TlsOptions | None = option(None, about="Serve TLS; plaintext without it.")


class Protocols(Options):
    """`protocols`: at least one."""

    grpc: Annotated[GrpcOptions | None, BeforeValidator(_null_is({}))] = option(None, about="OTLP over gRPC.")
    http: Annotated[HttpOptions | None, BeforeValidator(_null_is({}))] = option(None, about="OTLP over HTTP.")


class AuthOptions(Options):
    """`auth`: who may send, on every listener alike."""

    bearer_tokens: list[Secret] = option(
        about="Requests must bring one of these as `authorization: Bearer <token>`.", min_length=1
    )


class OtlpConfig(Options):
    """An `otlp` receiver."""

    protocols: Protocols = option(about="The listeners.")
    auth: AuthOptions | None = option(None, about="Who may send; everybody without it.")
    max_spans_per_request: int = option(
        250_000,
        about="Spans in one request at the most; bounds what a tiny compressed request can cost.",
        gt=0,
    )
    max_data_points_per_request: int = option(
        250_000, about="The same for the data points of metrics, and for the metrics themselves.", gt=0
    )
    max_log_records_per_request: int = option(250_000, about="The same for log records.", gt=0)
    ack_timeout: Duration = option(
        seconds(30),
        about="Ask to send again when the data isn't safe after this long; it may arrive all the same.",
        gt=0,
    )
