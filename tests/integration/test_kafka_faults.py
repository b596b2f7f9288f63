"""What a broker does to a write: no answer, no room, too large. Senders are told in time and nothing acked is lost."""

import asyncio
import os
import shutil
import subprocess
import time

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector.ack import Ack, Outcome
from collector.api import Batch
from collector.testing.durable_connector import append, payloads
from tests.integration.kafka_lives import Follower, Topics, ready, until
from tests.servers.kafka_cluster import KafkaCluster

GOOD = payloads(0, 60)


@pytest.fixture
def cluster(kafka_here, tmp_path):
    with KafkaCluster(tmp_path) as cluster:
        yield cluster


class Sender:
    """Sends one request after the other, each until it is acknowledged or refused, and remembers when."""

    def __init__(self, connector, size=200):
        self.connector = connector
        self.acked, self.refused, self.waits = [], [], []
        self._number = 1000
        self._size = size

    async def run(self, pause=0.01):
        while True:
            (payload,) = payloads(self._number, 1, self._size)
            self._number += 1
            asyncio.get_running_loop().create_task(self._send(payload))
            await asyncio.sleep(pause)

    async def _send(self, payload):
        started = time.monotonic()
        done = asyncio.get_running_loop().create_future()
        self.connector.append(Batch(payload, Ack(lambda outcome, reason: done.set_result(outcome)), count=1))
        outcome = await done
        self.waits.append(time.monotonic() - started)
        (self.acked if outcome is Outcome.DELIVERED else self.refused).append(payload)


async def _all_there(follower, acked):
    """Every acked span was delivered."""

    def missing():
        content = b"".join(follower.payloads)
        return [payload for payload in acked if payload not in content]

    await until(lambda: not missing(), within=30, what=lambda: f"{len(missing())} of {len(acked)} are missing")


async def test_an_answer_that_is_lost_is_told_in_time_and_costs_nothing(cluster):
    topics = await Topics(cluster.bootstrap, partitions=2).create()
    follower = Follower()
    async with topics.life(follower) as connector:
        await until(lambda: len(follower.partitions) == 2)
        sender = Sender(connector)
        sending = asyncio.create_task(sender.run())
        await until(lambda: len(sender.acked) > 50)
        before = len(sender.acked)
        cluster.pause()
        await asyncio.sleep(7)
        assert sender.refused, "senders were told"
        assert connector.ready() is not None
        pending = connector._appends._pending_bytes + connector._appends._flushing_bytes
        assert pending < 1 << 20, "what waits is bounded"
        cluster.resume()
        acked = len(sender.acked)
        await until(lambda: len(sender.acked) > acked + 100, within=20, what=lambda: f"no acks: {connector.ready()}")
        sending.cancel()
        await ready(connector)
        assert len(sender.acked) > before
        assert max(sender.waits) < 5.5
        await _all_there(follower, sender.acked)
    assert topics.counted("lost_records") == 0


def _request(sizes, trace=1):
    """One request with a span of each size, all in one trace."""
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    for number, size in enumerate(sizes, 1):
        name = chr(96 + number) * size
        scope.spans.add(trace_id=trace.to_bytes(16, "big"), span_id=number.to_bytes(8, "big"), name=name)
    return request.SerializeToString()


def _names(payloads):
    requests = map(ExportTraceServiceRequest.FromString, payloads)
    return sorted(s.name for r in requests for e in r.resource_spans for c in e.scope_spans for s in c.spans)


async def test_a_request_larger_than_a_record_is_split(kafka):
    topics = await Topics(kafka.bootstrap, producer={"max_message_bytes": 100_000}).create()
    sizes = [40_000] * 8
    follower = Follower()
    async with topics.life(follower) as connector:
        assert await append(connector, [_request(sizes)]) == [(Outcome.DELIVERED, "")]
        await until(lambda: len(_names(follower.payloads)) == 8)
    assert len(follower.payloads) == 4
    assert max(map(len, follower.payloads)) <= 100_000
    assert _names(follower.payloads) == _names([_request(sizes)])


@pytest.mark.parametrize("codec", ["none", "zstd"])
async def test_one_span_larger_than_a_record_is_refused_for_good_and_harms_no_other(kafka, codec):
    options = {"producer": {"max_message_bytes": 100_000, "compression": codec, "linger": "100ms"}}
    topics = await Topics(kafka.bootstrap, **options).create()
    follower = Follower()
    async with topics.life(follower) as connector:
        mixed = _request([10, 200_000, 20], trace=2)
        answers = await append(connector, [GOOD[0], mixed, GOOD[1]])
        assert answers == [(Outcome.DELIVERED, ""), (Outcome.REJECTED, "too_large"), (Outcome.DELIVERED, "")]
        assert connector.ready() is None
        assert await append(connector, [_request([150_000])]) == [(Outcome.REJECTED, "too_large")]
        assert await append(connector, GOOD[2:4]) == [(Outcome.DELIVERED, "")] * 2
        refused = []
        ack = Ack.counted(lambda _outcome, _reason, items: refused.append(items))
        connector.append(Batch(_request([150_000, 200_000, 30], trace=3), ack, count=3))
        await until(lambda: refused)
        assert refused == [2], "the third is in"
        assert connector.ready() is None
        await until(lambda: len(_names(follower.payloads)) == 7)
    expected = [*_names(GOOD[:4]), "a" * 10, "c" * 20, "c" * 30]
    assert _names(follower.payloads) == sorted(expected)
    assert topics.counted("refused", reason="too_large") == topics.counted("refused") == 3


@pytest.fixture
def small_disk(kafka_here, tmp_path):
    """A broker whose disk has 40 MB, and a file on it that can give way."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root may mount a small disk")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", folder], check=False).returncode:
        pytest.skip("this machine lets nobody mount a small disk")
    try:
        (folder / "ballast").write_bytes(bytes(16 << 20))
        settings = {"log.dirs": str(folder / "data"), "log.index.size.max.bytes": "65536"}
        with KafkaCluster(tmp_path / "broker", settings=settings) as cluster:
            yield cluster, folder / "ballast"
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


async def test_a_full_disk_refuses_and_loses_nothing(small_disk):
    """Kafka gives up on a disk that is full, and ends; room and a restart mend it, without a restart of ours."""
    cluster, ballast = small_disk
    options = {"producer": {"compression": "none"}, "topics": {"segment_bytes": "2MiB"}}
    topics = await Topics(cluster.bootstrap, **options).create()
    follower = Follower()
    async with topics.life(follower) as connector:
        await follower.assigned_once.wait()
        sender = Sender(connector, size=200_000)
        sending = asyncio.create_task(sender.run(pause=0.02))
        await until(lambda: len(sender.refused) > 20, within=40, what=lambda: f"{len(sender.acked)} acks, not full")
        full = len(sender.acked)
        assert full > 10
        await until(lambda: connector.ready() is not None)
        await until(lambda: not cluster.running(), within=20, what=lambda: "the broker still runs")
        ballast.unlink()
        await asyncio.to_thread(cluster.start)
        await until(lambda: len(sender.acked) > full + 10, within=40, what=lambda: f"{connector.ready()}")
        sending.cancel()
        await ready(connector)
        assert max(sender.waits) < 5.5
        await _all_there(follower, sender.acked)
    assert topics.counted("lost_records") == 0
