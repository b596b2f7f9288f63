"""What the `loki` exporter can be told. Limits bear the names that Loki's `limits_config` gives them."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict

from collector.api import Duration, ExporterOptions, Options, Size, option, seconds
from exporters.loki.plan import LEVEL, Limits, Plan
from exporters.otlp.options import Endpoint, Headers, Target, TlsOptions, parse_target


class LimitOptions(Options):
    """`limits`: what Loki would refuse, known before it is sent."""

    max_streams: int = option(5000, about="Label sets in use at once; more share a stream.", gt=0, le=1_000_000)
    stream_idle_period: Duration = option(
        seconds(1800), about="A label set that was not written to for so long makes room for another.", gt=0
    )
    max_label_names_per_series: int = option(15, about="Labels of a stream, at the most.", gt=0, le=64)
    max_label_name_length: int = option(1024, about="Bytes in the name of a label, at the most.", gt=0)
    max_label_value_length: int = option(2048, about="Bytes in the value of a label; longer ones are cut.", ge=16)
    max_structured_metadata_size: Size = option(64 << 10, about="Bytes of an entry's structured metadata.", gt=0)
    max_structured_metadata_entries_count: int = option(128, about="Pieces of an entry's structured metadata.", gt=0)
    max_line_size: Size = option(256 << 10, about="Bytes of a line.", ge=256)
    max_line_size_truncate: bool = option(True, about="Cut what is longer; otherwise it is refused.")
    reject_old_samples_max_age: Duration = option(seconds(168 * 3600), about="Older entries are refused; 0 for none.")
    creation_grace_period: Duration = option(seconds(600), about="Entries further ahead are refused; 0 for none.")
    max_push_size: Size = option(3 << 20, about="Bytes of one push before compression, where entries allow it.", gt=0)


class AttributeOptions(Options):
    """`attributes`: where a record says what every line of Butterfly says; the first that is there wins."""

    request_id: list[str] = option(["request_id", "butterfly.request.id"], about="Attributes with the request's id.")
    node_id: list[str] = option(["node_id", "butterfly.node.id"], about="Attributes with the node's name.")
    component: list[str] = option(
        ["component", "butterfly.component"], about="Attributes with the component; else the scope's name."
    )


class LokiOptions(ExporterOptions):
    """Options of `loki`."""

    model_config = ConfigDict(hide_input_in_errors=True)  # headers hold secrets

    endpoint: Endpoint = option(
        "http://localhost:3100", about="URL before the path of the API; `https` asks for TLS.", min_length=1
    )
    format: Literal["protobuf", "otlp"] = option("protobuf", about="Loki's push API, or its OTLP endpoint.")
    tls: TlsOptions = option(TlsOptions(), about="Encryption, on unless `insecure` or the URL turns it off.")
    headers: Headers = option({}, about="Headers sent with every request.")
    tenant_id: str = option("", about="Tenant, sent as X-Scope-OrgID.", pattern=r"^[A-Za-z0-9!\-_.*'()|]*$")
    labels: list[str] = option(
        ["service.name", "service.namespace", LEVEL],
        about="Attributes of resource or record that become labels of the stream; `level` is the severity.",
    )
    static_labels: dict[str, str] = option({}, about="Labels of every stream.")
    line: Literal["json", "body"] = option("json", about="The line: one JSON object a record, or the body alone.")
    structured_metadata: Literal["rest"] | list[str] = option(
        "rest", about="What becomes structured metadata beside the ids: all that is elsewhere lost, or a list."
    )
    attributes: AttributeOptions = option(AttributeOptions(), about="Where ids and names are found.")
    limits: LimitOptions = option(LimitOptions(), about="What Loki would refuse.")
    bisect_after: Duration = option(
        seconds(300), about="Time that a push may be answered with HTTP 500 before it is taken apart.", gt=0
    )

    @property
    def target(self) -> Target:
        """Where requests go."""
        return parse_target(self.endpoint)

    @property
    def secure(self) -> bool:
        """Whether requests are encrypted."""
        return self.target.scheme == "https" or (self.target.scheme != "http" and not self.tls.insecure)

    @property
    def url(self) -> str:
        """Where logs are posted to."""
        path = "/loki/api/v1/push" if self.format == "protobuf" else "/otlp/v1/logs"
        before = self.target.path.removesuffix(path)  # the Collector's users give the whole URL
        return f"{'https' if self.secure else 'http'}://{self.target.authority}{before}{path}"

    @property
    def plan(self) -> Plan:
        """What the encoder is to do."""
        limits = self.limits
        return Plan(
            labels=tuple(self.labels),
            static_labels=tuple(sorted(self.static_labels.items())),
            metadata=None if self.structured_metadata == "rest" else frozenset(self.structured_metadata),
            json_line=self.line == "json",
            request_id=tuple(self.attributes.request_id),
            node_id=tuple(self.attributes.node_id),
            component=tuple(self.attributes.component),
            limits=Limits(
                max_line_size=limits.max_line_size,
                truncate_lines=limits.max_line_size_truncate,
                max_label_value_length=limits.max_label_value_length,
                max_structured_metadata_size=limits.max_structured_metadata_size,
                max_structured_metadata_entries_count=limits.max_structured_metadata_entries_count,
                max_age=limits.reject_old_samples_max_age,
                max_ahead=limits.creation_grace_period,
            ),
        )
