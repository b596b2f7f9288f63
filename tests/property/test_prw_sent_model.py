"""Random histories with crashes against Prometheus' rule of order: no sample that it would have taken is lost, none
that it has and said so is called refused, and none that the memory holds costs a refusal."""

import asyncio
import logging

from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from bench.remote_write_messages import Request, WriteRequest
from exporters.prometheus_remote_write.dialect import Dialect
from exporters.prometheus_remote_write.lanes import LaneSender, Limits, Staged
from exporters.prometheus_remote_write.over_http import Answer, Meaning
from exporters.prometheus_remote_write.sent_file import SentMemory
from tests.property.prw_metrics import NOW
from tests.property.prw_reference import read_v1, read_v2
from tests.property.test_prw_against_protobuf import translator
from tests.unit.exporters.prometheus_remote_write.prw_prometheus import Newest

SECOND = 10**9
KEY = bytes(range(32))
VERSIONS = {1: "prometheus.WriteRequest", 2: "io.prometheus.write.v2.Request"}


class Killed(BaseException):
    """The process ended."""


class Prometheus:
    """Answers by the rule. Before or after the request in `dies` ("before" or "after") the gateway is killed."""

    def __init__(self, version):
        self.rule = Newest(partly=version == 2)
        self.dies = {}
        self.requests = 0
        self.taken = set()
        self.unheard = set()

    async def post(self, message, version):
        found = {}
        if version == 1:
            read_v1(WriteRequest.FromString(message), found, {})
        else:
            read_v2(Request.FromString(message), found, {})
        dies = self.dies.pop(self.requests, "")
        self.requests += 1
        if dies == "before":
            raise Killed
        samples = [(labels, time, 0.0 + value) for labels, values in found.items() for time, value in values.items()]
        assert len({labels for labels, _, _ in samples}) == len(samples), "two samples of a series in a request"
        whole, written, problem = self.rule.take(samples)
        if dies:
            self.unheard |= {(labels, time) for labels, time, _ in samples}
        if dies == "after":
            raise Killed
        if dies == "unheard":
            return Answer(Meaning.LATER)
        if whole:
            self.taken |= {(labels, time) for labels, time, _ in samples}
        counts = (written, 0, 0) if version == 2 else None
        return Answer(Meaning.TAKEN if whole else Meaning.REFUSED, reason=15 if problem else 0, written=counts)


def request(points):
    """Of (series, second): a gauge point each, with a value that says which."""
    made = ExportMetricsServiceRequest()
    metric = made.resource_metrics.add().scope_metrics.add().metrics.add(name="g")
    for series, second in points:
        point = metric.gauge.data_points.add(time_unix_nano=NOW + second * SECOND, as_double=second)
        point.attributes.add(key="n").value.int_value = series
    return made.SerializeToString()


class Gateway:
    def __init__(self, path, prometheus, version):
        self.path, self.prometheus, self.version = path, prometheus, version
        self.refused = set()
        self.memory = None
        self.start()

    def start(self):
        if self.memory is not None:
            self.memory.close()  # lets the locks go and writes nothing
        self.memory = SentMemory(self.path, 10_000, logging.getLogger("test"), lambda: 0.0)
        self.memory.open(KEY, "prometheus")
        self.translator = translator(lanes=2)
        dialect = Dialect(self.prometheus, VERSIONS[self.version], metadata=False)
        self.lanes = LaneSender(dialect, Limits(7, 10**6, 60.0), lambda: 0.0, lambda *_: None, self.memory)

    def deliver(self, requests):
        """Send merged requests, each until nothing is left; their refused points. Raises `Killed`."""
        points = [point for request in requests for point in request]
        staged = Staged(self.translator.translate(request(points), NOW + 10**6 * SECOND), None)
        while asyncio.run(self.attempt(staged)):
            pass
        return {point for point, reason in zip(points, staged.table.reasons, strict=True) if reason}

    async def attempt(self, staged):
        try:
            return await self.lanes.send(staged)
        except BaseExceptionGroup as group:
            raise Killed from group


def sample(point):
    series, second = point
    return (("__name__", "g"), ("n", str(series))), (NOW // 10**6) + second * 1000


@given(data=st.data(), version=st.sampled_from((1, 2)))
@settings(max_examples=60, deadline=None)
def test_no_crash_loses_a_sample_or_has_a_stored_one_refused(data, version, tmp_path_factory):
    prometheus = Prometheus(version)
    prometheus.dies = data.draw(
        st.dictionaries(st.integers(0, 40), st.sampled_from(("before", "after", "unheard")), max_size=8)
    )
    gateway = Gateway(tmp_path_factory.mktemp("sent") / "e.sent", prometheus, version)
    # Mostly in order; what is late is older than what its series has, and new to the backend.
    log, clock, used = [], 100, set()
    for _ in range(data.draw(st.integers(1, 8))):
        points = []
        for _ in range(data.draw(st.integers(1, 6))):
            clock += 2
            late = data.draw(st.sampled_from((0, 0, 0, 0, 0, 41)))
            points.append((data.draw(st.integers(0, 3)), clock - late))
        log.append([point for point in points if point not in used])
        used.update(points)
    position = committed = 0
    refused = set()
    while position < len(log):
        size = data.draw(st.integers(1, 3))
        known = set(prometheus.taken)
        before = prometheus.rule.refused
        part = [point for points in log[position : position + size] for point in points]
        try:
            refused |= gateway.deliver(log[position : position + size])
        except Killed:
            gateway.start()
            position = committed
            continue
        if all(sample(point) in known for point in part):
            assert prometheus.rule.refused == before, "all of it was taken before"
        position = min(position + size, len(log))
        committed = data.draw(st.integers(committed, position))
        if data.draw(st.booleans()):
            gateway.start()
            position = committed
    stored = set(prometheus.rule.stored)
    everything = {point for points in log for point in points}
    assert {sample(point) for point in everything} == stored | {sample(point) for point in refused}
    # Merged otherwise the second time, a late sample may come after a newer one that it came before.
    called = stored & {sample(point) for point in refused}
    assert called <= prometheus.unheard, "what is stored, and was said to be, is called refused"
    gateway.memory.close()
