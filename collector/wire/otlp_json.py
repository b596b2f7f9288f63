"""OTLP/JSON, as the OpenTelemetry Protocol specification defines it, to and from the protobuf bytes of OTLP."""

from collector.wire.json_read import from_json
from collector.wire.json_write import to_json, write_json

__all__ = ["from_json", "to_json", "write_json"]
