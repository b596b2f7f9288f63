"""What comes again after a crash costs no refusal and no request that is divided, and what doesn't is still refused."""

import logging
import time

import pytest
from aiohttp import web
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from collector.api import Ack, Batch, BuildContext, Meter, RetryableExportError, Signal
from exporters.prometheus_remote_write import PrometheusRemoteWriteExporter
from tests.unit.exporters.prometheus_remote_write.prw_backend import Backend
from tests.unit.exporters.prometheus_remote_write.prw_prometheus import Newest

SECOND = 10**9


class Lives:
    """An exporter that can be killed: nothing of it is told to end, only the locks of its files are let go."""

    def __init__(self, folder, url, **options):
        self.folder = folder
        self.config = PrometheusRemoteWriteExporter.Config.model_validate(
            {"endpoint": url, "remote_write_queue": {"num_consumers": 2}, "max_samples_per_request": 1000, **options}
        )
        self.exporter = None

    # The locks of its files belong to the process, so they are let go by closing.
    async def __aenter__(self):
        await self.start()
        return self

    async def start(self):
        self.meter = Meter()
        self.exporter = PrometheusRemoteWriteExporter(
            self.config, BuildContext("prometheus_remote_write", logging.getLogger("test"), self.meter, self.folder)
        )
        await self.exporter.start()

    async def __aexit__(self, *_):
        await self.exporter.stop()

    async def kill(self):
        await self.exporter.stop()  # writes nothing: the files are as `kill -9` leaves them
        await self.start()

    async def send(self, payload):
        """{reason: rows} of what is refused."""
        staged = self.exporter.stage(Batch(payload, Ack.ignore(), signal=Signal.METRICS))
        return {each.reason: each.rows.nonzero()[0].tolist() for each in await self.exporter.send(staged)}

    @property
    def repeated(self):
        return self.exporter._memory.repeated


def counters(numbers, at, value=1.0):
    request = ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="c")
    metric.sum.is_monotonic = True
    metric.sum.aggregation_temporality = 2
    for number in numbers:
        point = metric.sum.data_points.add(time_unix_nano=at, as_double=value)
        point.attributes.add(key="n").value.int_value = number
    return request.SerializeToString()


@pytest.mark.parametrize("message", ["io.prometheus.write.v2.Request", "prometheus.WriteRequest"])
async def test_ten_thousand_samples_that_come_again_cost_nothing(tmp_path, message):
    prometheus = Newest(partly="v2" in message)
    backend = Backend(2, prometheus)
    start = time.time_ns() - 100 * SECOND
    log = [counters(range(1000), start + second * SECOND) for second in range(10)]
    async with backend.serving() as url, Lives(tmp_path, url, protobuf_message=message) as lives:
        for request in log:
            assert await lives.send(request) == {}
        sent = len(backend.requests)
        await lives.kill()
        for merged in (log[:3], log[3:10]):
            assert await lives.send(b"".join(merged)) == {}
        assert len(backend.requests) == sent, "nothing is sent again"
        assert lives.repeated == 10_000
        assert await lives.send(counters(range(1000), start + 10 * SECOND)) == {}
    assert prometheus.refused == 0
    assert len(prometheus.stored) == 11_000


async def test_without_the_memory_each_of_them_is_refused(tmp_path):
    prometheus = Newest()
    start = time.time_ns() - 100 * SECOND
    async with (
        Backend(2, prometheus).serving() as url,
        Lives(tmp_path, url, sent_memory={"max_samples": 0}) as lives,
    ):
        assert lives.exporter._memory is None
        for second in range(2):
            await lives.send(counters(range(8), start + second * SECOND))
        staged = lives.exporter.stage(Batch(counters(range(8), start), Ack.ignore(), signal=Signal.METRICS))
        (refusal,) = await lives.exporter.send(staged)
    assert (refusal.reason, refusal.rows.all()) == ("out_of_order", True)
    # A random key says which lane has how many of them; each lane divides its part.
    assert prometheus.refused == sum(2 * (end - begin) - 1 for begin, end in staged.table.lanes if end > begin)
    assert not list(tmp_path.glob("*.sent*"))


async def test_what_was_never_taken_is_refused_and_told_as_before(tmp_path):
    prometheus = Newest()
    start = time.time_ns() - 100 * SECOND
    async with Backend(2, prometheus).serving() as url, Lives(tmp_path, url) as lives:
        await lives.send(counters(range(10), start))
        await lives.send(counters(range(10), start + 2 * SECOND))
        await lives.kill()
        assert await lives.send(counters([3], start + SECOND)) == {"out_of_order": [0]}
        assert await lives.send(counters([4], start + 2 * SECOND, 7.0)) == {"duplicate": [0]}
        both = counters([5], start) + counters([5], start + 3 * SECOND)
        assert await lives.send(both) == {}
        assert lives.repeated == 1
        metrics = {name: value for name, value in _values(lives.meter) if "repeated" in name}
    assert set(metrics.values()) == {1.0}


def _values(meter):
    for family in meter.registry.collect():
        for sample in family.samples:
            yield sample.name, sample.value


@pytest.mark.parametrize("message", ["io.prometheus.write.v2.Request", "prometheus.WriteRequest"])
async def test_an_answer_that_never_came_is_no_refusal_although_each_series_had_several_samples(tmp_path, message):
    prometheus = Newest(partly="v2" in message)
    start = time.time_ns() - 100 * SECOND
    payload = b"".join(counters(range(100), start + second * SECOND) for second in range(5))

    def stores_and_says_nothing(backend, samples):
        answer = prometheus(backend, samples)
        return 503 if len(backend.requests) in {2, 3, 6} else answer

    async with (
        Backend(2, stores_and_says_nothing).serving() as url,
        Lives(tmp_path, url, protobuf_message=message) as lives,
    ):
        staged = lives.exporter.stage(Batch(payload, Ack.ignore(), signal=Signal.METRICS))
        for _ in range(4):
            try:
                assert await lives.exporter.send(staged) == []
                break
            except RetryableExportError:
                await lives.kill()  # and the log gives all of it again
                staged = lives.exporter.stage(Batch(payload, Ack.ignore(), signal=Signal.METRICS))
        assert await lives.send(payload) == {}
    assert prometheus.refused == 0
    assert len(prometheus.stored) == 500


async def test_a_partial_write_names_the_refused_and_calls_no_stored_sample_refused(tmp_path):
    prometheus = Newest(partly=True)
    start = time.time_ns() - 100 * SECOND
    async with Backend(2, prometheus).serving() as url, Lives(tmp_path, url) as lives:
        await lives.send(counters([3], start + 2 * SECOND))
        payload = b"".join(counters(range(10), start + second * SECOND) for second in range(5))
        assert await lives.send(payload) == {"out_of_order": [3, 13]}
    assert len(prometheus.stored) == 50 - 2


async def test_what_was_stored_without_its_exemplars_is_not_sent_again(tmp_path):
    def refuses_exemplars(backend, samples):
        return web.Response(status=400, headers={"X-Prometheus-Remote-Write-Samples-Written": str(len(samples))})

    backend = Backend(2, refuses_exemplars)
    payload = counters(range(10), time.time_ns() - SECOND)
    async with backend.serving() as url, Lives(tmp_path, url) as lives:
        assert await lives.send(payload) == {}
        before = len(backend.requests)
        await lives.kill()
        assert await lives.send(payload) == {}
        assert (lives.repeated, len(backend.requests)) == (10, before)
