import asyncio
import logging
from types import SimpleNamespace

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector.ack import Ack, Outcome, leaked
from collector.batch import ANONYMOUS, Batch, Context, Signal
from collector.connectors.kafka import appends as appends_module
from collector.connectors.kafka.appends import MAX_FLUSHES, Appends
from collector.connectors.kafka.options import KafkaOptions
from collector.connectors.kafka.producer import NotSentError
from collector.wire import partition_of

PARTITIONS = 4


@pytest.fixture(autouse=True)
def nothing_leaks():
    before = leaked()
    yield
    assert leaked() == before


def spans(*ids, size=0):
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    for number in ids:
        scope.spans.add(trace_id=number.to_bytes(16), span_id=b"s" * 8, name="n" * size)
    return request.SerializeToString()


class Producer:
    """Kafka as the appends see it. While `gate` is closed, nothing is answered."""

    def __init__(self):
        self.sent, self.fails, self.offset = [], [], 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.under_way = self.most_under_way = 0

    async def send(self, topic, records, headers, since=None):
        self.sent.append((topic, records, headers))
        self.under_way += 1
        self.most_under_way = max(self.under_way, self.most_under_way)
        try:
            await self.gate.wait()
            await asyncio.sleep(0)
        finally:
            self.under_way -= 1
        if self.fails:
            raise self.fails.pop(0)
        self.offset += len(records)
        return [SimpleNamespace(partition=partition, offset=self.offset) for partition, _, _ in records]


class Senders:
    """Appends, and what each sender was told."""

    def __init__(self, **options):
        self.answers, self.refused, self.took, self.written = {}, [], [], []
        self.problem = None
        self.producer = Producer()
        self.appends = Appends(
            KafkaOptions.model_validate({"partitions": PARTITIONS, **options}),
            self.producer,
            obstacle=lambda: self.problem,
            written=lambda topic, metadata: self.written.append((topic, [each.partition for each in metadata])),
            refused=self.refused.append,
            took=self.took.append,
            log=logging.getLogger("test"),
        )

    def append(self, name, payload, *, signal=Signal.TRACES, context=ANONYMOUS):
        ack = Ack(lambda outcome, reason: self.answers.setdefault(name, []).append((outcome, reason)))
        self.appends.append(Batch(payload, ack, signal=signal, context=context, count=1))

    async def finish(self):
        await self.appends.close()
        assert all(len(answers) == 1 for answers in self.answers.values())
        return {name: answers[0] for name, answers in self.answers.items()}


DELIVERED = (Outcome.DELIVERED, "")


async def turns():
    """Let the loop carry out what is due. Timers fire in the order of their times, however late the loop is."""
    for _ in range(50):
        await asyncio.sleep(0)


async def test_a_flush_is_one_record_a_partition():
    senders = Senders()
    for number in range(40):
        senders.append(number, spans(number, number + 1000))
    assert set((await senders.finish()).values()) == {DELIVERED}
    ((topic, records, headers),) = senders.producer.sent
    assert topic == "otlp_spans"
    assert headers == [("butterfly-signal", b"traces")]
    assert [partition for partition, _, _ in records] == list(range(PARTITIONS))
    found = set()
    for partition, key, payload in records:
        assert key is None
        request = ExportTraceServiceRequest.FromString(payload)
        for span in (s for r in request.resource_spans for scope in r.scope_spans for s in scope.spans):
            assert partition_of(span.trace_id, PARTITIONS) == partition
            found.add(int.from_bytes(span.trace_id))
    assert found == {*range(40), *range(1000, 1040)}
    assert senders.written == [("otlp_spans", list(range(PARTITIONS)))]
    assert len(senders.took) == 1


async def test_company_is_waited_for_and_no_longer_than_the_linger():
    senders = Senders(producer={"linger": "30ms"})
    senders.append("a", spans(1))
    await turns()
    senders.append("b", spans(2))
    assert senders.producer.sent == []
    await asyncio.sleep(0.06)
    await turns()
    assert len(senders.producer.sent) == 1
    assert senders.answers == {"a": [DELIVERED], "b": [DELIVERED]}
    await senders.finish()


async def test_much_is_sent_without_waiting(monkeypatch):
    monkeypatch.setattr(appends_module, "FLUSH_BYTES", 1000)
    senders = Senders(producer={"linger": "1s"})
    senders.append("a", spans(1, size=600))
    await turns()
    assert senders.producer.sent == []
    senders.append("b", spans(2, size=600))
    await turns()
    assert senders.answers == {"a": [DELIVERED], "b": [DELIVERED]}
    await senders.finish()


async def test_what_comes_while_a_flush_is_under_way_gathers(monkeypatch):
    senders = Senders(producer={"linger": "0s"})
    senders.producer.gate.clear()
    senders.append("first", spans(1))
    while not senders.producer.sent:
        await asyncio.sleep(0.001)
    for number in range(10):
        senders.append(number, spans(number))
        await asyncio.sleep(0.002)
    assert len(senders.producer.sent) == 1
    senders.producer.gate.set()
    while len(senders.answers) < 11:
        await asyncio.sleep(0.001)
    assert len(senders.producer.sent) == 2
    assert len(await senders.finish()) == 11


async def test_only_some_flushes_are_under_way_at_once(monkeypatch):
    monkeypatch.setattr(appends_module, "FLUSH_BYTES", 100)
    senders = Senders()
    senders.producer.gate.clear()
    for number in range(3 * MAX_FLUSHES):
        senders.append(number, spans(number, size=200))
        await asyncio.sleep(0)
    await asyncio.sleep(0.01)
    assert senders.producer.under_way == MAX_FLUSHES
    senders.producer.gate.set()
    assert set((await senders.finish()).values()) == {DELIVERED}


async def test_never_more_waits_than_is_allowed():
    senders = Senders(producer={"max_pending": "1MiB", "max_message_bytes": 100_000})
    senders.producer.gate.clear()
    for number in range(30):
        senders.append(number, spans(number, size=99_000))
        await asyncio.sleep(0)
    busy = [name for name, answers in senders.answers.items() if answers == [(Outcome.RETRY, "log_busy")]]
    assert busy == list(range(10, 30))
    assert senders.refused == ["log_busy"] * 20
    senders.producer.gate.set()
    while len(senders.answers) < 30:
        await asyncio.sleep(0.001)
    await turns()  # it is known by then that these are out
    senders.append("later", spans(99, size=99_000))
    answers = await senders.finish()
    assert [name for name, answer in answers.items() if answer == DELIVERED] == [*range(10), "later"]


async def test_one_that_is_larger_than_everything_allowed_is_taken_alone():
    senders = Senders(producer={"max_pending": "1MiB", "max_message_bytes": 100_000})
    senders.append("large", spans(*range(30), size=99_000))
    senders.append("other", spans(1))
    answers = await senders.finish()
    assert answers == {"large": DELIVERED, "other": (Outcome.RETRY, "log_busy")}
    ((_, records, _),) = senders.producer.sent
    assert max(len(payload) for _, _, payload in records) <= 100_000


async def test_an_obstacle_refuses_at_once_and_says_which():
    senders = Senders()
    senders.problem = "kafka_away"
    senders.append("a", spans(1))
    assert senders.answers == {"a": [(Outcome.RETRY, "kafka_away")]}
    senders.problem = None
    senders.append("b", spans(1))
    assert (await senders.finish())["b"] == DELIVERED
    assert senders.refused == ["kafka_away"]


async def test_what_waited_behind_a_failure_is_refused_too():
    senders = Senders(producer={"linger": "0s"})
    senders.producer.gate.clear()
    senders.append("a", spans(1))
    while not senders.producer.sent:
        await asyncio.sleep(0.001)
    senders.append("b", spans(2))
    senders.problem = "kafka_timeout"
    senders.producer.fails.append(NotSentError("kafka_timeout"))
    senders.producer.gate.set()
    answers = await senders.finish()
    assert set(answers.values()) == {(Outcome.RETRY, "kafka_timeout")}
    assert len(senders.producer.sent) == 1


@pytest.mark.parametrize(
    ("error", "reason"), [(NotSentError("kafka_denied"), "kafka_denied"), (RuntimeError("what"), "kafka_error")]
)
async def test_everybody_in_a_flush_is_answered_alike(error, reason):
    senders = Senders()
    senders.producer.fails.append(error)
    for number in range(5):
        senders.append(number, spans(number))
    assert set((await senders.finish()).values()) == {(Outcome.RETRY, reason)}
    assert senders.refused == [reason] * 5
    assert senders.written == []


async def test_a_batch_that_is_no_telemetry_harms_no_other():
    senders = Senders()
    senders.append("good", spans(1))
    senders.append("bad", b"\xff\xff\xff")
    senders.append("fine", spans(2))
    answers = await senders.finish()
    assert answers == {"good": DELIVERED, "fine": DELIVERED, "bad": (Outcome.REJECTED, "malformed")}
    ((_, records, _),) = senders.producer.sent
    sent = {
        span.trace_id
        for _, _, payload in records
        for resource in ExportTraceServiceRequest.FromString(payload).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    }
    assert sent == {number.to_bytes(16) for number in (1, 2)}


async def test_a_batch_that_is_no_telemetry_is_answered_once_when_the_others_fail():
    senders = Senders()
    senders.append("good", spans(1))
    senders.append("bad", b"\xff\xff\xff")
    senders.producer.fails.append(NotSentError("kafka_timeout"))
    answers = await senders.finish()
    assert answers == {"good": (Outcome.RETRY, "kafka_timeout"), "bad": (Outcome.REJECTED, "malformed")}


async def test_nothing_but_a_batch_that_is_no_telemetry_sends_nothing():
    senders = Senders()
    senders.append("bad", b"\xff\xff\xff")
    assert await senders.finish() == {"bad": (Outcome.REJECTED, "malformed")}
    assert senders.producer.sent == []


async def test_a_batch_without_spans_is_delivered_without_a_record():
    senders = Senders()
    senders.append("empty", b"")
    assert await senders.finish() == {"empty": DELIVERED}
    assert senders.producer.sent == []


async def test_tenants_and_signals_never_share_a_record():
    senders = Senders()
    logs = ExportLogsServiceRequest()
    logs.resource_logs.add().scope_logs.add().log_records.add(severity_text="x")
    senders.append("a", spans(1), context=Context("acme"))
    senders.append("b", spans(2), context=Context("umbrella"))
    senders.append("c", spans(3))
    senders.append("d", logs.SerializeToString(), signal=Signal.LOGS, context=Context("acme"))
    senders.append("e", spans(4), context=Context("acme"))
    senders.producer.fails = [NotSentError("kafka_timeout")]
    answers = await senders.finish()
    found = {(topic, dict(headers).get("butterfly-tenant")) for topic, _, headers in senders.producer.sent}
    assert found == {
        ("otlp_spans", b"acme"),
        ("otlp_spans", b"umbrella"),
        ("otlp_spans", None),
        ("otlp_logs", b"acme"),
    }
    assert answers["a"] == answers["e"] == (Outcome.RETRY, "kafka_timeout")
    assert answers["b"] == answers["c"] == answers["d"] == DELIVERED


async def test_closing_writes_what_waits_and_takes_nothing_more():
    senders = Senders(producer={"linger": "1s"})
    senders.append("a", spans(1))
    closing = asyncio.create_task(senders.appends.close())
    await asyncio.sleep(0)
    senders.append("b", spans(2))
    await closing
    assert senders.answers == {"a": [DELIVERED], "b": [(Outcome.RETRY, "log_closed")]}


async def test_closing_ends_when_nothing_is_answered(monkeypatch):
    monkeypatch.setattr(appends_module, "STOP_WITHIN_S", 0.02)
    senders = Senders()
    senders.producer.gate.clear()
    senders.append("a", spans(1))
    await asyncio.sleep(0)
    senders.append("b", spans(2))
    answers = await asyncio.wait_for(senders.finish(), 2)
    assert set(answers.values()) == {(Outcome.RETRY, "stopped")}


async def test_closing_with_nothing_to_write_is_done_at_once():
    senders = Senders()
    assert await senders.finish() == {}
    assert senders.producer.sent == []
