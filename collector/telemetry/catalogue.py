"""Every metric of the gateway, in one table: name, kind, labels, meaning. Nothing else defines one.

Names follow Prometheus' conventions (base units, `_total`). A label's values come from the configuration or from a
closed set in the code, never from telemetry: the gateway's own cardinality is bounded. A custom component passes a
`Metric` of its own to the meter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric family. `buckets` are upper bounds in the metric's unit, for histograms."""

    name: str
    kind: Kind
    about: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


_READER = ("connector", "partition", "pipeline")
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

_TABLE = (
    # -- ledger: accepted = delivered + filtered + dead_lettered + returned + lost + held, per pipeline, in items
    Metric("butterfly_accepted_items_total", "counter", "Items that entered the pipeline.", ("pipeline",)),
    Metric(
        "butterfly_delivered_items_total", "counter", "Items that every exporter of the pipeline has.", ("pipeline",)
    ),
    Metric(
        "butterfly_filtered_items_total", "counter", "Items a processor removed on purpose.", ("pipeline", "reason")
    ),
    Metric(
        "butterfly_dead_lettered_items_total",
        "counter",
        "Items that a backend refused for good, kept in the dead letter.",
        ("pipeline", "reason"),
    ),
    Metric(
        "butterfly_returned_items_total", "counter", "Items answered with a retryable error.", ("pipeline", "reason")
    ),
    Metric(
        "butterfly_lost_items_total",
        "counter",
        "Items that the log could not give back, or that a stop without a log could not keep.",
        ("pipeline", "reason"),
    ),
    Metric("butterfly_held_items", "gauge", "Items inside the gateway now.", ("pipeline",)),
    Metric("butterfly_leaked_acks_total", "counter", "Acknowledgements dropped unresolved: always a bug."),
    # -- what ties the signals together
    Metric(
        "butterfly_exemplars_total",
        "counter",
        "Exemplars that point at a trace, by what became of them.",
        ("processor", "fate"),
    ),
    Metric(
        "butterfly_correlations_total",
        "counter",
        "Log records given a trace context, and logs and exemplars given a request ID.",
        ("processor", "what"),
    ),
    # -- process
    Metric("butterfly_uptime_seconds", "gauge", "Seconds since the gateway started."),
    Metric("butterfly_resident_memory_bytes", "gauge", "Resident memory of the process."),
    # -- receivers
    Metric(
        "butterfly_receiver_requests_total",
        "counter",
        "Requests answered, by outcome.",
        ("receiver", "signal", "transport", "outcome"),
    ),
    Metric(
        "butterfly_receiver_rejected_items_total",
        "counter",
        "Items refused for good, by reason.",
        ("receiver", "signal", "reason"),
    ),
    Metric(
        "butterfly_receiver_ack_seconds",
        "histogram",
        "From a request's arrival to its answer.",
        ("receiver", "signal", "transport"),
        _SECONDS,
    ),
    # -- admission
    Metric("butterfly_inflight_bytes", "gauge", "Wire bytes admitted and not answered yet."),
    Metric(
        "butterfly_memory_limiter_refused_total",
        "counter",
        "Requests refused before they were decoded.",
        ("processor", "reason"),
    ),
    # -- tail sampling
    Metric("butterfly_sampling_open_traces", "gauge", "Traces observed and not decided.", ("processor",)),
    Metric("butterfly_sampling_table_bytes", "gauge", "Memory of the trace and verdict tables.", ("processor",)),
    Metric(
        "butterfly_sampling_traces_total",
        "counter",
        "Traces decided, by the policy that settled them.",
        ("processor", "policy", "decision"),
    ),
    Metric(
        "butterfly_sampling_spans_total", "counter", "Spans of decided traces, by decision.", ("processor", "decision")
    ),
    Metric(
        "butterfly_sampling_early_decisions_total",
        "counter",
        "Traces decided before their time, by cause.",
        ("processor", "cause"),
    ),
    Metric(
        "butterfly_sampling_late_spans_total",
        "counter",
        "Spans that came after their trace's decision.",
        ("processor", "decision"),
    ),
    Metric("butterfly_sampling_duplicate_spans_total", "counter", "Byte-identical copies dropped.", ("processor",)),
    # -- pii scrubber
    Metric(
        "butterfly_pii_findings_total",
        "counter",
        "Values changed, by the key rule or the kind of finding that did it.",
        ("processor", "rule"),
    ),
    Metric(
        "butterfly_pii_failed_closed_total",
        "counter",
        "Values redacted, attributes or batches removed, because they could not be scrubbed.",
        ("processor", "reason"),
    ),
    # -- cardinality limiter
    Metric("butterfly_cardinality_series", "gauge", "Series that are active and pass as they are.", ("processor",)),
    Metric("butterfly_cardinality_metrics", "gauge", "Names of metrics that are active.", ("processor",)),
    Metric(
        "butterfly_cardinality_folded_series", "gauge", "Cumulative series that are folded into others.", ("processor",)
    ),
    Metric("butterfly_cardinality_aggregated_series", "gauge", "Series that re-aggregation makes.", ("processor",)),
    Metric("butterfly_cardinality_table_bytes", "gauge", "Memory of the tables of series.", ("processor",)),
    Metric(
        "butterfly_cardinality_refused_points_total",
        "counter",
        "Points of series over a limit, by the limit and what was done.",
        ("processor", "limit", "action"),
    ),
    # -- durable connectors
    Metric("butterfly_log_end", "gauge", "Position after the newest record.", _READER),
    Metric("butterfly_log_head", "gauge", "Position up to which records were observed.", _READER),
    Metric("butterfly_log_tail", "gauge", "Position up to which records were processed.", _READER),
    Metric("butterfly_log_committed", "gauge", "Position before which everything is settled.", _READER),
    Metric("butterfly_log_lag_seconds", "gauge", "Age of the oldest record that isn't settled.", _READER),
    Metric("butterfly_log_bytes", "gauge", "Bytes the connector keeps on disk.", ("connector",)),
    Metric("butterfly_log_commit_seconds", "histogram", "One group commit.", ("connector",), _SECONDS),
    Metric(
        "butterfly_log_refused_total",
        "counter",
        "Batches refused because the log can't take them now.",
        ("connector", "reason"),
    ),
    Metric(
        "butterfly_log_lost_records_total",
        "counter",
        "Records found damaged or missing, reported as lost.",
        ("connector", "pipeline", "reason"),
    ),
    Metric(
        "butterfly_log_quarantined_records_total",
        "counter",
        "Records of a shared log that are no telemetry, put aside.",
        ("connector", "pipeline", "reason"),
    ),
    Metric(
        "butterfly_verdict_feed_records_total",
        "counter",
        "Records of sampling verdicts that other processes may have written, by what became of them.",
        ("connector", "pipeline", "outcome"),
    ),
    Metric(
        "butterfly_verdict_feed_behind_records",
        "gauge",
        "Records of sampling verdicts that are written and not read yet.",
        ("connector", "pipeline"),
    ),
    # -- loki
    Metric(
        "butterfly_loki_adjusted_total",
        "counter",
        "Entries changed so that Loki takes them, by what was done.",
        ("exporter", "kind"),
    ),
    Metric("butterfly_loki_streams", "gauge", "Label sets that count towards max_streams.", ("exporter",)),
    # -- export queue
    Metric("butterfly_queue_bytes", "gauge", "Bytes waiting or in flight.", ("exporter",)),
    Metric("butterfly_queue_items", "gauge", "Items waiting or in flight.", ("exporter",)),
    Metric("butterfly_export_attempts_total", "counter", "Attempts, by outcome.", ("exporter", "outcome")),
    Metric("butterfly_export_items_total", "counter", "Items by their end, per exporter.", ("exporter", "outcome")),
    Metric("butterfly_export_seconds", "histogram", "One attempt.", ("exporter",), _SECONDS),
    Metric(
        "butterfly_export_retry_wait_seconds",
        "gauge",
        "Wait before the next attempt, 0 when none waits.",
        ("exporter",),
    ),
    # -- prometheus remote write
    Metric(
        "butterfly_remote_write_requests_total", "counter", "Requests, by what was answered.", ("exporter", "outcome")
    ),
    Metric("butterfly_remote_write_samples_total", "counter", "Samples that the backend took.", ("exporter",)),
    Metric(
        "butterfly_remote_write_repeated_samples_total",
        "counter",
        "Samples that came again and weren't sent, since the backend has them.",
        ("exporter",),
    ),
    Metric(
        "butterfly_remote_write_refused_points_total",
        "counter",
        "Data points that were refused, by reason.",
        ("exporter", "reason"),
    ),
    Metric(
        "butterfly_remote_write_refused_target_info_total",
        "counter",
        "Samples of target_info that were refused.",
        ("exporter",),
    ),
    Metric(
        "butterfly_remote_write_duplicate_deltas_total",
        "counter",
        "Deltas that came again after they were added.",
        ("exporter",),
    ),
    Metric(
        "butterfly_remote_write_exemplar_labels_cut_total",
        "counter",
        "Labels of exemplars that exceeded 128 characters.",
        ("exporter",),
    ),
    Metric("butterfly_remote_write_delta_streams", "gauge", "Delta series that are summed.", ("exporter",)),
)

CATALOGUE: dict[str, Metric] = {metric.name: metric for metric in _TABLE}
