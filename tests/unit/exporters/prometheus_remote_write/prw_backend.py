"""A made-up remote-write backend on a free port of this machine, and requests of metrics for it."""

from __future__ import annotations

import asyncio
import contextlib

import cramjam
from aiohttp import web
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from bench.remote_write_messages import Request, WriteRequest

V1_TYPE = "application/x-protobuf"
V2_TYPE = "application/x-protobuf;proto=io.prometheus.write.v2.Request"


class Backend:
    """Takes what it is sent. `version` 1 knows no 2.0 and answers it 204; `rule(backend, samples)` may answer a status
    or a response. `stored` are {(labels, time): value}; `requests` (version, samples) of all.
    """

    def __init__(self, version=2, rule=None):
        self.version = version
        self.rule = rule
        self.requests = []
        self.headers = []
        self.stored = {}
        self.in_flight = []
        self.most_in_flight = 0
        self.overtaken = set()

    async def handle(self, request):
        """Answer, a moment later; `overtaken` are series that were in two requests at a time."""
        body = bytes(cramjam.snappy.decompress_raw(await request.read()))
        self.headers.append(dict(request.headers))
        version = 2 if request.headers["Content-Type"] == V2_TYPE else 1
        samples = list(self.samples(body, version))
        self.requests.append((version, samples))
        series = {labels for labels, _, _ in samples}
        for others in self.in_flight:
            self.overtaken |= others & series
        self.in_flight.append(series)
        self.most_in_flight = max(self.most_in_flight, len(self.in_flight))
        await asyncio.sleep(0.002)
        self.in_flight.remove(series)
        if version == 2 and self.version == 1:
            return web.Response(status=204)
        answer = self.rule(self, samples) if self.rule else None
        if answer is not None and not isinstance(answer, int):
            return answer
        if answer is None or answer // 100 == 2:
            self.stored.update({(labels, time): value for labels, time, value in samples})
        headers = {}
        if version == 2 and (answer is None or answer in {200, 400}):
            written = 0 if answer == 400 else len(samples)
            headers = {
                "X-Prometheus-Remote-Write-Samples-Written": str(written),
                "X-Prometheus-Remote-Write-Histograms-Written": "0",
                "X-Prometheus-Remote-Write-Exemplars-Written": "0",
            }
        return web.Response(status=answer or 200, headers=headers)

    def samples(self, body, version):
        if version == 1:
            for series in WriteRequest.FromString(body).timeseries:
                labels = tuple((each.name, each.value) for each in series.labels)
                yield from ((labels, each.timestamp, each.value) for each in series.samples)
            return
        message = Request.FromString(body)
        for series in message.timeseries:
            refs = [message.symbols[each] for each in series.labels_refs]
            labels = tuple(zip(refs[::2], refs[1::2], strict=True))
            yield from ((labels, each.timestamp, each.value) for each in series.samples)

    @contextlib.asynccontextmanager
    async def serving(self):
        """The URL to write to."""
        runner = web.ServerRunner(web.Server(self.handle))
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}/write"
        finally:
            await runner.cleanup()

    def names(self):
        return sorted(dict(labels)["__name__"] for labels, _ in self.stored)


def gauges(names, time_ns, value=1.0):
    """One gauge point a name, in one request."""
    request = ExportMetricsServiceRequest()
    scope = request.resource_metrics.add().scope_metrics.add()
    for name in names:
        scope.metrics.add(name=name).gauge.data_points.add(time_unix_nano=time_ns, as_double=value)
    return request.SerializeToString()
