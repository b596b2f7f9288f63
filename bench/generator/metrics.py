"""The pre-built metrics: OTLP requests as bytes, overwritten in place with what the spans sent so far measure.

A cumulative number is a straight line over cycles plus what the begun cycle adds, so it can be worked out for any
moment of the run, and so can the truth: for every counter, bucket, sum and exemplar.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import numpy as np
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from bench.generator.exemplars import Exemplars
from bench.generator.explosion import ExplosionRequest, explosion
from bench.generator.measurements import series_of
from bench.generator.metric_catalogue import Growth, Level
from bench.generator.metric_points import Point, in_doubles, locate_points, serialise_points
from bench.generator.metric_series import choose
from bench.generator.slots import Slots
from bench.generator.unmeasured import Growths, Levels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from bench.generator.clock import Clock, Moment
    from bench.generator.identity import Words
    from bench.generator.metric_shape import MetricShape
    from bench.generator.sending import Sending
    from bench.generator.traces import Span


class MetricRequest:
    """One request of a round: points of one sender's nodes. Its bytes are a function of seed, clock and moment."""

    def __init__(self, sender: int, points: Sequence[Point], deltas: frozenset[str], sending: Sending) -> None:
        self.sender = sender
        self.late = False
        payload, rows = serialise_points(sending.seed, points, deltas)
        found = locate_points(payload, rows)
        self._points = len(rows)
        self._sending = sending
        self._bytes = np.frombuffer(payload, np.uint8).copy()
        size = len(payload) - 7
        self._big: Words = np.ndarray((size,), ">u8", self._bytes, strides=(1,))
        self._little: NDArray[np.int64] = np.ndarray((size,), "<i8", self._bytes, strides=(1,))
        self._double: NDArray[np.float64] = np.ndarray((size,), "<f8", self._bytes, strides=(1,))
        delta = np.array([point.metric.name in deltas for point in rows], np.bool_)
        self.has_deltas = bool(delta.any())
        self._times = np.array([at for at, _ in found.times], np.intp)
        self._starts = np.array([at for at, row in found.starts if not delta[row]], np.intp)
        self._delta_starts = np.array([at for at, row in found.starts if delta[row]], np.intp)
        self._slots = Slots(rows, found, delta, sending)
        self._unmeasured(rows, {row: at for at, row in found.numbers}, delta)
        self._exemplars = Exemplars(rows, found.exemplars, sending) if found.exemplars else None

    def __len__(self) -> int:
        """Points in the request."""
        return self._points

    @property
    def size(self) -> int:
        """Bytes of the payload."""
        return len(self._bytes)

    def _unmeasured(self, rows: Sequence[Point], number_at: dict[int, int], delta: NDArray[np.bool_]) -> None:
        """What no span feeds: levels and growth, as integers and as doubles."""
        levels = [(row, point) for row, point in enumerate(rows) if isinstance(point.metric.source, Level)]
        grows = [(row, point) for row, point in enumerate(rows) if isinstance(point.metric.source, Growth)]
        self._levels = [
            Levels(number_at, [each for each in levels if in_doubles(each[1].metric) is doubles])
            for doubles in (False, True)
        ]
        self._growths = [
            Growths(number_at, [each for each in grows if in_doubles(each[1].metric) is doubles], delta)
            for doubles in (False, True)
        ]

    def encode(self, moment: Moment, before: Moment | None, clock: Clock) -> bytes:
        """The request as made at that moment. `before`: the moment of the one made before it, which deltas count from;
        None for the first."""
        little, double = self._little, self._double
        little[self._times] = moment.at
        little[self._starts] = clock.began
        spans, spans_before = self._sending.spans_sent(moment), 0
        since = before if self.has_deltas else None
        if self.has_deltas:
            little[self._delta_starts] = since.at if since else clock.began
            spans_before = self._sending.spans_sent(since) if since else 0
        self._slots.write(self._bytes, little, double, moment=moment, since=since)
        whole, broken = self._levels
        little[whole.at] = whole.low + (whole.share(moment.round) * (whole.width + 1)).astype(np.int64)
        double[broken.at] = broken.low + broken.share(moment.round) * broken.width
        steps, seconds = self._growths
        little[steps.at] = steps.since(spans_before, spans)
        double[seconds.at] = seconds.since(spans_before, spans) / 1000
        if self._exemplars is None:
            return self._bytes.tobytes()
        complete = self._exemplars.write(self._big, little, double, moment=moment, clock=clock)
        payload = self._bytes.tobytes()
        return payload if complete else without_blank_exemplars(payload)


def without_blank_exemplars(payload: bytes) -> bytes:
    """The request without exemplars that point at nothing: those of series that no span has fed yet."""
    request = ExportMetricsServiceRequest.FromString(payload)
    for group in request.resource_metrics:
        for scope in group.scope_metrics:
            for metric in scope.metrics:
                kind = metric.WhichOneof("data") or ""
                points = () if kind == "summary" else getattr(metric, kind).data_points
                for point in points:
                    for number in reversed(range(len(point.exemplars))):
                        if not any(point.exemplars[number].trace_id):
                            del point.exemplars[number]
    return request.SerializeToString()


class MetricTraffic:
    """All metrics requests of one round, in sending order."""

    def __init__(self, shape: MetricShape, senders: int, spans: Sequence[Span], sending: Sending) -> None:
        self.shape = shape
        self.sending = sending
        measured = series_of(spans, sending.order)
        random = Random(sending.seed ^ 0x6D657472)
        deltas = shape.deltas()
        chunks = choose(measured, senders, shape, random)
        regular = [MetricRequest(points[0].node % senders, points, deltas, sending) for points in chunks]
        exploding = explosion(sending.seed, senders, shape.explode, shape.batch)
        self.requests: list[MetricRequest | ExplosionRequest] = _interleaved(regular, exploding)
        self.series = sum(len(request) for request in self.requests)
        """Points of one round."""


def _interleaved(
    regular: Sequence[MetricRequest], exploding: Sequence[ExplosionRequest]
) -> list[MetricRequest | ExplosionRequest]:
    """Both, spread evenly."""
    requests: list[MetricRequest | ExplosionRequest] = [*regular, *exploding]
    places = [(number + 0.5) / len(members) for members in (regular, exploding) for number in range(len(members))]
    return [requests[number] for number in sorted(range(len(requests)), key=places.__getitem__)]
