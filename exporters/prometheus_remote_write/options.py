"""What the `prometheus_remote_write` exporter can be told, with the Collector's names."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict

from collector.api import ClientTlsOptions, Duration, ExporterOptions, Options, Secret, Size, option, seconds
from exporters.otlp.options import Headers, Target, parse_target
from exporters.prometheus_remote_write.naming import Strategy  # noqa: TC001 - pydantic reads it

_PATH = "/api/v1/write"
_RESERVED = frozenset({"user-agent", "x-prometheus-remote-write-version"})
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_NAMESPACE = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")

V1 = "prometheus.WriteRequest"
V2 = "io.prometheus.write.v2.Request"


def _checked_endpoint(value: str) -> str:
    parse_target(value.partition("?")[0])
    return value


def _checked_headers(headers: dict[str, Secret]) -> dict[str, Secret]:
    if any(name.lower() in _RESERVED for name in headers):
        raise ValueError("expected names of HTTP headers that the exporter does not set itself")
    return headers


def _checked_labels(labels: dict[str, str]) -> dict[str, str]:
    for name in labels:
        if not _LABEL.fullmatch(name) or name.startswith("__"):
            raise ValueError("expected names of letters, digits and underscores that don't begin with two of these")
    return labels


def _checked_namespace(value: str) -> str:
    if value and not _NAMESPACE.fullmatch(value):
        raise ValueError("expected letters, digits, underscores and colons")
    return value


class EnabledOptions(Options):
    """Something that is on or off."""

    enabled: bool = option(False, about="Whether it is done.")


class TargetInfoOptions(Options):
    """`target_info`: the resource's attributes as a metric of its own."""

    enabled: bool = option(True, about="Whether `target_info` is sent.")


class RemoteWriteQueueOptions(Options):
    """`remote_write_queue`: requests at once."""

    num_consumers: int = option(5, about="Lanes: each has one request in flight.", gt=0, le=64)


class DeltaOptions(Options):
    """`delta_to_cumulative`: the sums over deltas."""

    max_streams: int = option(100_000, about="Series that are summed at once; others are refused.", gt=0)
    max_stale: Duration = option(seconds(3600), about="Time without a delta after which a sum is forgotten.", gt=0)


class SentMemoryOptions(Options):
    """`sent_memory`: what the backend has taken, so that it isn't sent again after a crash."""

    max_samples: int = option(
        1_500_000, about="So many samples at least are remembered, up to four times as many; 0 for none.", ge=0
    )


class RemoteWriteOptions(ExporterOptions):
    """Options of `prometheus_remote_write`."""

    model_config = ConfigDict(hide_input_in_errors=True)  # headers hold secrets

    endpoint: Annotated[str, AfterValidator(_checked_endpoint)] = option(
        "localhost:9090", about="URL, or host:port; without a path it is `/api/v1/write`.", min_length=1
    )
    protobuf_message: Literal["auto", "prometheus.WriteRequest", "io.prometheus.write.v2.Request"] = option(
        "auto", about="Remote write 1.0 or 2.0; `auto` tries 2.0 first."
    )
    headers: Annotated[Headers, AfterValidator(_checked_headers)] = option({}, about="Headers sent with every request.")
    tls: ClientTlsOptions = option(
        ClientTlsOptions(), about="How the backend is recognised; see below when it is used."
    )
    external_labels: Annotated[dict[str, str], AfterValidator(_checked_labels)] = option(
        {}, about="Labels for every series that has none of that name."
    )
    resource_to_telemetry_conversion: EnabledOptions = option(
        EnabledOptions(), about="All attributes of the resource as labels of every series."
    )
    target_info: TargetInfoOptions = option(TargetInfoOptions(), about="The metric `target_info`.")
    disable_scope_info: bool = option(False, about="Leave the `otel_scope_*` labels out.")
    add_metric_suffixes: bool = option(True, about="Units and `_total` at the end of names.")
    translation_strategy: Strategy = option(
        "UnderscoreEscapingWithSuffixes", about="How names become names of Prometheus, in its own words."
    )
    namespace: Annotated[str, AfterValidator(_checked_namespace)] = option("", about="Put before every metric's name.")
    send_metadata: bool = option(False, about="Type, help and unit with every request of 1.0, as 2.0 has.")
    remote_write_queue: RemoteWriteQueueOptions = option(RemoteWriteQueueOptions(), about="Requests at once.")
    max_batch_size_bytes: Size = option(3_000_000, about="Bytes of one request before compression, about.", gt=0)
    max_samples_per_request: int = option(5000, about="Samples of one request.", gt=0)
    max_retry_age: Duration = option(
        seconds(60), about="Time of answers 500 after which the sample that causes them is looked for.", gt=0
    )
    future_tolerance: Duration = option(seconds(600), about="How far ahead of our clock a point may be.")
    delta_to_cumulative: DeltaOptions = option(DeltaOptions(), about="The sums over deltas.")
    sent_memory: SentMemoryOptions = option(
        SentMemoryOptions(), about="What the backend has taken, so that it isn't sent again after a crash."
    )

    @property
    def target(self) -> Target:
        """Where requests go."""
        return parse_target(self.endpoint.partition("?")[0])

    @property
    def secure(self) -> bool:
        """Whether requests are encrypted: as the URL says, else unless `insecure` or this very machine says no."""
        target = self.target
        if target.scheme:
            return target.scheme == "https"
        plain = self.tls.insecure or (target.loopback and "tls" not in self.model_fields_set)
        return not plain

    @property
    def url(self) -> str:
        """The whole URL."""
        query = self.endpoint.partition("?")[2]
        whole = f"{'https' if self.secure else 'http'}://{self.target.authority}{self.target.path or _PATH}"
        return f"{whole}?{query}" if query else whole

    @property
    def strategy(self) -> Strategy:
        """`translation_strategy`, without suffixes where `add_metric_suffixes` is off."""
        if self.add_metric_suffixes:
            return self.translation_strategy
        utf8 = self.translation_strategy in {"NoUTF8EscapingWithSuffixes", "NoTranslation"}
        return "NoTranslation" if utf8 else "UnderscoreEscapingWithoutSuffixes"
