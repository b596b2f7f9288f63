"""The gRPC listener, with real clients."""

import asyncio
import threading
import time

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from otlp_harness import TRACES, FakeIntake, channel, details, export, payload, request, serving
from otlp_signals import LOGS, SENDERS

from collector.api import Outcome
from receivers.otlp.transport import INLINE


def retry_seconds(error):
    status = Status.FromString(details(error))
    assert status.code == error.code().value[0]
    assert status.message == error.details()
    info = RetryInfo()
    assert status.details[0].Unpack(info)
    return info.retry_delay.ToTimedelta().total_seconds()


@pytest.mark.parametrize("sender", SENDERS, ids=str)
@pytest.mark.parametrize("compression", [None, grpc.Compression.Gzip, grpc.Compression.Deflate])
async def test_the_generated_stub_delivers(compression, sender):
    async with serving() as running:

        def send():
            with channel(running.ports["grpc"]) as connection:
                return sender.stub(connection).Export(sender.request(3), compression=compression, timeout=5)

        response = await asyncio.to_thread(send)
        assert response == sender.response_class()
        assert not response.HasField("partial_success")
        assert running.intake.taken == [(sender.payload(3), 3)]
        assert running.outcomes() == {("grpc", "ok"): 1}
        assert running.signals() == {str(sender): 1}


async def test_the_sdk_delivers():
    async with serving() as running:

        def send():
            provider = TracerProvider()
            exporter = OTLPSpanExporter(endpoint=f"127.0.0.1:{running.ports['grpc']}", insecure=True)
            provider.add_span_processor(SimpleSpanProcessor(exporter))
            with provider.get_tracer("test").start_as_current_span("inference.request"):
                pass
            provider.shutdown()

        await asyncio.to_thread(send)
        assert [span.name for span in running.intake.spans] == ["inference.request"]


@pytest.mark.parametrize("sender", SENDERS, ids=str)
async def test_an_empty_request_succeeds_without_the_pipeline(sender):
    async with serving() as running:
        for data in (b"", sender.payload(0)):
            assert await asyncio.to_thread(export, running.ports["grpc"], data, method=sender.method) == b""
        assert running.intake.taken == []


async def test_filtered_is_success():
    async with serving(FakeIntake(Outcome.FILTERED)) as running:
        assert await asyncio.to_thread(export, running.ports["grpc"], payload()) == b""


async def test_retry_is_unavailable_with_retry_info():
    async with serving(FakeIntake(Outcome.RETRY)) as running:
        error = await asyncio.to_thread(export, running.ports["grpc"], payload())
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert retry_seconds(error) == 1.0
        assert "secret" not in error.details()
        assert running.refusals() == {"returned": 1}


async def test_overload_is_unavailable_with_the_time_to_wait():
    async with serving(FakeIntake(room=10)) as running:
        error = await asyncio.to_thread(export, running.ports["grpc"], payload())
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert retry_seconds(error) == 2.5
        assert running.refusals() == {"overloaded": 1}
        assert running.intake.taken == []


@pytest.mark.parametrize("sender", SENDERS, ids=str)
async def test_a_refusal_for_good_is_a_partial_success_that_rejects_all(sender):
    async with serving(FakeIntake(Outcome.REJECTED)) as running:
        answer = await asyncio.to_thread(export, running.ports["grpc"], sender.payload(7), method=sender.method)
        rejected, message = sender.answer(answer)
        assert rejected == 7
        assert "dead letter" in message
        assert running.refusals() == {"undeliverable": 7}


async def test_spans_with_bad_ids_are_counted_exactly_and_the_others_taken():
    message = request(5)
    spans = message.resource_spans[0].scope_spans[0].spans
    for bad in (b"", b"\x01" * 15, b"\x01" * 17, bytes(16)):
        spans.add(trace_id=bad, span_id=b"\x01" * 8, name="bad")
    for bad in (b"", b"\x01" * 7, b"\x01" * 9, bytes(8)):
        spans.add(trace_id=b"\x01" * 16, span_id=bad, name="bad")
    async with serving() as running:
        answer = await asyncio.to_thread(export, running.ports["grpc"], message.SerializeToString())
        partial = ExportTraceServiceResponse.FromString(answer).partial_success
        assert partial.rejected_spans == 8
        assert "16 bytes" in partial.error_message
        assert [span.name for span in running.intake.spans] == ["layer.execute"] * 5
        assert running.intake.taken[0][1] == 5
        assert running.refusals() == {"bad_id": 8}


async def test_a_request_of_bad_ids_alone_never_reaches_the_pipeline():
    async with serving() as running:
        answer = await asyncio.to_thread(export, running.ports["grpc"], payload(3, span_id=b""))
        assert ExportTraceServiceResponse.FromString(answer).partial_success.rejected_spans == 3
        assert running.intake.taken == []


async def test_bad_ids_and_a_refusal_add_up():
    message = request(2)
    message.resource_spans[0].scope_spans[0].spans.add(trace_id=b"", span_id=b"")
    async with serving(FakeIntake(Outcome.REJECTED)) as running:
        answer = await asyncio.to_thread(export, running.ports["grpc"], message.SerializeToString())
        assert ExportTraceServiceResponse.FromString(answer).partial_success.rejected_spans == 3
        assert running.refusals() == {"bad_id": 1, "undeliverable": 2}


async def test_log_records_with_bad_ids_are_taken_and_the_sender_is_told():
    message = LOGS.request(2)
    records = message.resource_logs[0].scope_logs[0].log_records
    for bad in (b"\x01" * 15, b"\x01" * 17, b"\x01"):
        records.add(trace_id=bad)
    records.add(trace_id=b"\x01" * 16, span_id=b"\x01" * 9)
    async with serving() as running:
        data = message.SerializeToString()
        rejected, told = LOGS.answer(await asyncio.to_thread(export, running.ports["grpc"], data, method=LOGS.method))
        assert (rejected, "16 bytes" in told) == (0, True)
        assert running.intake.taken == [(data, 6)]
        assert running.refusals() == {}


async def test_log_records_without_ids_or_with_zeroes_are_nothing_to_speak_of():
    message = LOGS.request(2)
    records = message.resource_logs[0].scope_logs[0].log_records
    records.add(trace_id=bytes(16), span_id=bytes(8))
    records.add(trace_id=b"\x01" * 16, span_id=b"\x01" * 8)
    async with serving() as running:
        data = message.SerializeToString()
        assert await asyncio.to_thread(export, running.ports["grpc"], data, method=LOGS.method) == b""
        assert running.intake.taken == [(data, 4)]


@pytest.mark.parametrize("sender", SENDERS, ids=str)
async def test_a_signal_that_no_pipeline_takes_is_unimplemented(sender):
    async with serving(signals=[each.signal for each in SENDERS if each is not sender]) as running:
        for data in (b"", sender.payload()):
            error = await asyncio.to_thread(export, running.ports["grpc"], data, method=sender.method)
            assert error.code() is grpc.StatusCode.UNIMPLEMENTED
            assert "pipeline" in error.details()
        assert running.refusals() == {"not_served": 2}
        assert running.signals() == {"none": 2}
        assert running.intake.asked == []
        for other in SENDERS:
            if other is not sender:
                assert await asyncio.to_thread(export, running.ports["grpc"], b"", method=other.method) == b""


async def test_other_services_are_unimplemented():
    async with serving() as running:
        method = "/opentelemetry.proto.collector.nothing.v1.Nothing/Export"
        error = await asyncio.to_thread(export, running.ports["grpc"], b"", method=method)
        assert error.code() is grpc.StatusCode.UNIMPLEMENTED
        assert running.refusals() == {"not_served": 1}


async def test_no_answer_in_time_asks_to_send_again():
    async with serving(FakeIntake(None), ack_timeout="200ms") as running:
        error = await asyncio.to_thread(export, running.ports["grpc"], payload())
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert retry_seconds(error) == 1.0
        assert running.refusals() == {"late": 1}
        assert len(running.intake.taken) == 1


async def test_a_sender_that_gives_up_leaves_its_data_handed_over():
    async with serving(FakeIntake(None), grpc_options={"max_requests": 2}) as running:

        def given_up():
            return running.outcomes()["grpc", "late"]

        def give_up():
            errors, patience = [], 0.1
            for number in range(1, 7):
                # On a slow machine a sender may give up before anything of it has arrived: that is no such sender.
                while len(running.intake.taken) < number:
                    errors.append(export(running.ports["grpc"], payload(), timeout=patience))
                    patience *= 1 if len(running.intake.taken) == number else 2
                while given_up() < number:  # so that the next one finds room
                    time.sleep(0.002)
            return errors

        errors = await asyncio.to_thread(give_up)
        # Whichever side's clock is first says so; a sender retries either.
        retryable = {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE}
        assert {error.code() for error in errors} <= retryable
        running.intake.outcome = Outcome.DELIVERED
        assert await asyncio.to_thread(export, running.ports["grpc"], payload()) == b""
        assert len(running.intake.taken) == 7
        outcomes = running.outcomes()
        outcomes.pop(("grpc", "unread"), None)  # whoever gave up before it had arrived
        assert outcomes == {("grpc", "late"): 6, ("grpc", "ok"): 1}


@pytest.mark.parametrize("sender", SENDERS, ids=str)
async def test_a_big_request_is_checked_beside_the_loop(sender):
    async with serving() as running:
        big = sender.payload(20_000)
        assert len(big) > INLINE
        assert await asyncio.to_thread(export, running.ports["grpc"], big, method=sender.method) == b""
        assert running.intake.taken == [(big, 20_000)]
        error = await asyncio.to_thread(export, running.ports["grpc"], big[:-3], method=sender.method)
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert running.outcomes() == {("grpc", "ok"): 1, ("grpc", "malformed"): 1}


async def test_a_stop_that_lasts_too_long_asks_to_send_again():
    intake = FakeIntake(None)
    async with serving(intake) as running:
        sent = [asyncio.create_task(asyncio.to_thread(export, running.ports["grpc"], payload())) for _ in range(3)]
        while len(intake.taken) < 3:
            await asyncio.sleep(0.01)
        began = time.monotonic()
        await running.receiver.stop()
        assert time.monotonic() - began < 5.5
        for error in await asyncio.gather(*sent):
            assert retry_seconds(error) == 1.0
        assert running.refusals() == {"late": 3}


async def test_many_requests_at_once_all_get_their_answer():
    async with serving(FakeIntake(delay=0.01)) as running:

        def burst():
            with channel(running.ports["grpc"]) as connection:
                method = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
                call = connection.unary_unary(method)
                return [future.result() for future in [call.future(payload(), timeout=10) for _ in range(40)]]

        assert await asyncio.to_thread(burst) == [b""] * 40
        assert running.outcomes() == {("grpc", "ok"): 40}


async def test_more_requests_than_the_house_holds_are_asked_to_come_back():
    intake = FakeIntake(None)
    async with serving(intake, grpc_options={"max_requests": 4}, ack_timeout="500ms") as running:

        def burst():
            with channel(running.ports["grpc"]) as connection:
                method = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
                call = connection.unary_unary(method)
                futures = [call.future(payload(), timeout=10) for _ in range(10)]
                return [future.exception() for future in futures]

        errors = await asyncio.to_thread(burst)
        assert all(retry_seconds(error) == 1.0 for error in errors)
        assert running.refusals() == {"overloaded": 6, "late": 4}


async def test_what_arrives_while_the_loop_is_busy_is_answered_by_us():
    async with serving(grpc_options={"max_requests": 100}) as running:
        connections = [channel(running.ports["grpc"], ("grpc.primary_user_agent", str(n))) for n in range(40)]
        began = threading.Event()

        def burst():
            for connection in connections:
                grpc.channel_ready_future(connection).result(5)
            began.set()
            futures = [each.unary_unary(TRACES).future(payload(), timeout=20) for each in connections * 90]
            return [future.exception() for future in futures]

        sent = asyncio.create_task(asyncio.to_thread(burst))
        while not began.is_set():
            await asyncio.sleep(0.01)
        time.sleep(1)  # noqa: ASYNC251 - the loop is busy
        errors = [error for error in await sent if error is not None]
        assert {error.code() for error in errors} <= {grpc.StatusCode.UNAVAILABLE}
        assert sum(running.outcomes().values()) == 3600
        for connection in connections:
            connection.close()


async def test_stop_answers_what_was_taken_and_takes_nothing_new():
    intake = FakeIntake(delay=0.3)
    async with serving(intake) as running:
        sent = asyncio.create_task(asyncio.to_thread(export, running.ports["grpc"], payload()))
        while not intake.taken:
            await asyncio.sleep(0.01)
        began = time.monotonic()
        await running.receiver.stop()
        assert time.monotonic() - began < 2
        assert await sent == b""
        error = await asyncio.to_thread(export, running.ports["grpc"], payload())
        assert error.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_port_in_use_is_an_error_that_names_the_endpoint():
    async with serving() as running:
        port = running.ports["grpc"]
        with pytest.raises(OSError, match=f"can't listen on 127.0.0.1:{port}: the port is in use"):
            async with serving(grpc_options={"endpoint": f"127.0.0.1:{port}"}):
                pytest.fail("two servers on one port")
