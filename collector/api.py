"""Everything a component may import, and all that it needs.

A custom processor:

    from collector.api import Batch, Options, Processor, option

    class DropHealthChecks(Processor):
        class Config(Options):
            route: str = option("/healthz", about="Route whose spans are dropped.")

        pure = True

        def process(self, batch: Batch):
            return [batch.filter(lambda span: span.attributes.get("http.route") != self.config.route, "health_check")]

Name it in the YAML as `./drop_health_checks.py:DropHealthChecks`, as `package.module:DropHealthChecks`, or by an entry
point in the group `butterfly.processors`.
"""

from collector.ack import Ack, Outcome
from collector.batch import ANONYMOUS, Batch, Context, Signal
from collector.component.base import BuildContext, Component, Extension
from collector.component.connector import (
    Chunk,
    Connector,
    DurableConnector,
    Partition,
    PartitionListener,
    Reader,
    Record,
)
from collector.component.deriving import DerivingConnector, Emit
from collector.component.exporter import (
    BatchOptions,
    Exporter,
    ExporterOptions,
    QueueOptions,
    Refusal,
    RetryOptions,
    StagedExporter,
)
from collector.component.follower import VerdictFollower
from collector.component.processor import Admitting, Lookahead, Processor, Stateful, Verdicts
from collector.component.receiver import Intake, Permit, Receiver
from collector.component.trace_board import DROPPED, KEPT, UNDECIDED, Decided, TraceBoard
from collector.component.verdict_feed import VerdictFeed
from collector.errors import (
    AckError,
    ButterflyError,
    ConfigError,
    ExportError,
    Overloaded,
    OwnershipLostError,
    RejectedExportError,
    RetryableExportError,
    StorageError,
)
from collector.http_connection import HttpConnections
from collector.line_file import LineFile
from collector.options import Duration, Options, Secret, Size, option, seconds
from collector.telemetry.catalogue import Metric
from collector.telemetry.ledger import Account
from collector.telemetry.meter import Meter
from collector.tls import ClientTlsOptions, client_context
from collector.wire import (
    UNKNOWN_THRESHOLD,
    Exemplars,
    LogIndex,
    Malformed,
    PointIndex,
    Probes,
    SpanIndex,
    edit_exemplars,
    find_exemplars,
    find_field,
    find_text,
    from_json,
    replace_logs,
    replace_points,
    replace_spans,
    sample,
    scan,
    scan_logs,
    scan_metrics,
    select,
    to_json,
    validate,
    validate_logs,
    validate_metrics,
    write_json,
)

__all__ = [
    "ANONYMOUS",
    "DROPPED",
    "KEPT",
    "UNDECIDED",
    "UNKNOWN_THRESHOLD",
    "Account",
    "Ack",
    "AckError",
    "Admitting",
    "Batch",
    "BatchOptions",
    "BuildContext",
    "ButterflyError",
    "Chunk",
    "ClientTlsOptions",
    "Component",
    "ConfigError",
    "Connector",
    "Context",
    "Decided",
    "DerivingConnector",
    "DurableConnector",
    "Duration",
    "Emit",
    "Exemplars",
    "ExportError",
    "Exporter",
    "ExporterOptions",
    "Extension",
    "HttpConnections",
    "Intake",
    "LineFile",
    "LogIndex",
    "Lookahead",
    "Malformed",
    "Meter",
    "Metric",
    "Options",
    "Outcome",
    "Overloaded",
    "OwnershipLostError",
    "Partition",
    "PartitionListener",
    "Permit",
    "PointIndex",
    "Probes",
    "Processor",
    "QueueOptions",
    "Reader",
    "Receiver",
    "Record",
    "Refusal",
    "RejectedExportError",
    "RetryOptions",
    "RetryableExportError",
    "Secret",
    "Signal",
    "Size",
    "SpanIndex",
    "StagedExporter",
    "Stateful",
    "StorageError",
    "TraceBoard",
    "VerdictFeed",
    "VerdictFollower",
    "Verdicts",
    "client_context",
    "edit_exemplars",
    "find_exemplars",
    "find_field",
    "find_text",
    "from_json",
    "option",
    "replace_logs",
    "replace_points",
    "replace_spans",
    "sample",
    "scan",
    "scan_logs",
    "scan_metrics",
    "seconds",
    "select",
    "to_json",
    "validate",
    "validate_logs",
    "validate_metrics",
    "write_json",
]
