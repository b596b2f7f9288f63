"""OTLP on the wire: compiled readers and writers of `Export*ServiceRequest` bytes. No protobuf object anywhere.

`scan` and `validate` index a request of traces, `points` and `logs` one of the other signals, `Probes` are conditions
that a scan of spans evaluates on the way, `rewrite` selects and patches items by copying slices, `partition` splits
requests for a partitioned log, `view`, `point_view` and `log_view` show single items to Python, `otlp_json` translates
to and from OTLP/JSON.
"""

from collector.wire.exemplar_edits import edit_exemplars
from collector.wire.exemplars import Exemplars, find_exemplars
from collector.wire.logs import LogIndex, scan_logs, validate_logs
from collector.wire.otlp_json import from_json, to_json, write_json
from collector.wire.partition import partition_logs, partition_metrics, partition_of, partition_spans
from collector.wire.points import PointIndex, scan_metrics, validate_metrics
from collector.wire.rewrite import UNKNOWN_THRESHOLD, replace_logs, replace_points, replace_spans, sample, select
from collector.wire.scan import Malformed, Probes, SpanIndex, scan, validate
from collector.wire.texts import find_field, find_text, resource_bodies

__all__ = [
    "UNKNOWN_THRESHOLD",
    "Exemplars",
    "LogIndex",
    "Malformed",
    "PointIndex",
    "Probes",
    "SpanIndex",
    "edit_exemplars",
    "find_exemplars",
    "find_field",
    "find_text",
    "from_json",
    "partition_logs",
    "partition_metrics",
    "partition_of",
    "partition_spans",
    "replace_logs",
    "replace_points",
    "replace_spans",
    "resource_bodies",
    "sample",
    "scan",
    "scan_logs",
    "scan_metrics",
    "select",
    "to_json",
    "validate",
    "validate_logs",
    "validate_metrics",
    "write_json",
]
