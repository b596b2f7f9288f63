"""The generator's traffic: what it is made of, that it repeats itself by seed, and that no two sends share an id."""

from collections import Counter, defaultdict

import numpy as np
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from bench.generator.attributes import REQUEST_ID_PREFIX
from bench.generator.catalogue import ROOTS, SCOPES, SINGLES, SPANS
from bench.generator.identity import hexadecimal, span_ids, trace_ids
from bench.generator.traces import BYZANTINE, ERROR, Mix
from bench.generator.traffic import Shape, Traffic

LASTS = 1_600_000_000
BEGAN = 1_700_000_000_000_000_000


@pytest.fixture(scope="module")
def traffic():
    return Traffic(Shape(seed=7, spans=16_000))


@pytest.fixture(scope="module")
def messages(traffic):
    ends = traffic.ends(BEGAN, LASTS)
    return [ExportTraceServiceRequest.FromString(request.encode(3, ends)) for request in traffic.requests]


def spans_of(message):
    return [span for group in message.resource_spans for scope in group.scope_spans for span in scope.spans]


def attributes_of(span):
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in span.attributes}


@pytest.fixture(scope="module")
def by_trace(messages):
    traces = defaultdict(list)
    for message in messages:
        for span in spans_of(message):
            traces[span.trace_id].append(span)
    return traces


def test_catalogue_covers_the_eight_categories_with_the_critical_spans():
    assert len(SPANS) >= 50
    assert {entry.category for entry in SPANS.values()} == set(SCOPES)
    assert len(SCOPES) == 8
    critical = "inference.request layer.execute comm.send_tensor consensus.propose consensus.vote consensus.commit"
    assert {*critical.split(), "checkpoint.create", "checkpoint.restore"} <= set(SPANS)
    mentioned = {child for entry in SPANS.values() for child in entry.children}
    assert mentioned | set(SINGLES) | {name for name, _ in ROOTS} <= set(SPANS)


def test_every_request_is_full_and_of_one_sender(traffic, messages):
    assert {len(request) for request in traffic.requests} == {100}
    assert Counter(request.sender for request in traffic.requests) == dict.fromkeys(range(8), 20)
    for message in messages:
        (group,) = message.resource_spans
        assert len(group.resource.attributes) == 10
        assert all(scope.scope.version for scope in group.scope_spans)


def test_spans_look_real(messages):
    spans = [span for message in messages for span in spans_of(message)]
    size = sum(message.ByteSize() for message in messages) / len(spans)
    assert 380 < size < 470
    attributes = np.mean([len(span.attributes) for span in spans])
    assert 9 <= attributes <= 11
    assert 0.30 < np.mean([bool(span.events) for span in spans]) < 0.40
    personal = {"user.email", "user.id", "client.address", "enduser.id", "gen_ai.prompt"}
    found = [personal & set(attributes_of(span)) for span in spans]
    assert 0.18 < np.mean([bool(keys) for keys in found]) < 0.22
    assert set().union(*found) == personal
    assert {span.name for span in spans} == set(SPANS)
    assert any(span.trace_state for span in spans)
    assert any(span.links for span in spans)


def test_traces_are_trees_across_nodes_and_requests(by_trace, messages):
    requests_of = defaultdict(set)
    for number, message in enumerate(messages):
        for span in spans_of(message):
            requests_of[span.trace_id].add(number)
    for spans in by_trace.values():
        ids = {span.span_id for span in spans}
        assert len(ids) == len(spans) <= 40
        assert sum(not span.parent_span_id for span in spans) == 1
        for span in spans:
            assert not span.parent_span_id or span.parent_span_id in ids
            assert span.start_time_unix_nano <= span.end_time_unix_nano
            assert BEGAN - 10**10 < span.end_time_unix_nano <= BEGAN + LASTS
    assert {1, 40} <= {len(spans) for spans in by_trace.values()}
    assert np.mean([len(numbers) > 1 for numbers in requests_of.values()]) > 0.6


def test_links_point_at_spans_that_were_sent(by_trace):
    everything = {(trace, span.span_id) for trace, spans in by_trace.items() for span in spans}
    links = [link for spans in by_trace.values() for span in spans for link in span.links]
    assert links
    assert {(link.trace_id, link.span_id) for link in links} <= everything


def test_request_id_belongs_to_the_trace(by_trace):
    for trace, spans in by_trace.items():
        wanted = REQUEST_ID_PREFIX + trace[8:].hex()
        assert {attributes_of(span)["butterfly.request.id"] for span in spans} == {wanted}


def fault_shapes(span):
    attributes = attributes_of(span)
    events = {event.name for event in span.events}
    return {
        "fault_type": "butterfly.byzantine.fault_type" in attributes,
        "detected": attributes.get("butterfly.byzantine.detected") is True,
        "fault event": "byzantine.fault_detected" in events,
        "failed event": "byzantine.verification_failed" in events,
        "verification": attributes.get("butterfly.verification.result") == "failed",
    }


def test_columns_say_what_the_bytes_say(traffic, messages):
    shapes = Counter()
    passed = 0
    for request, message in zip(traffic.requests, messages, strict=True):
        for ordinal, span in zip(request.rows, spans_of(message), strict=True):
            marks = fault_shapes(span)
            shapes.update(name for name, present in marks.items() if present)
            passed += attributes_of(span).get("butterfly.verification.result") == "passed"
            row = int(ordinal)
            assert bool(traffic.flags[row] & BYZANTINE) == any(marks.values())
            assert bool(traffic.flags[row] & ERROR) == (span.status.code == 2)
            if marks["verification"]:
                assert span.name == "byzantine.verify"
                assert span.status.code == 2
            assert span.end_time_unix_nano - span.start_time_unix_nano == traffic.end[row] - traffic.start[row]
    assert set(shapes) == set(marks)
    assert passed > 50


def test_shares_of_faults(traffic):
    def share(bit):
        return len(np.unique(traffic.trace[traffic.flags & bit != 0])) / traffic.traces

    assert 0.02 < share(ERROR) < 0.05
    assert 0.004 < share(BYZANTINE) < 0.02


def test_slow_traces_are_slow_and_the_others_are_far_from_it(by_trace):
    lengths = np.array(
        [max(s.end_time_unix_nano for s in t) - min(s.start_time_unix_nano for s in t) for t in by_trace.values()]
    )
    slow = lengths > 5_000_000_000
    assert 0.01 < slow.mean() < 0.035
    assert lengths[~slow].max() <= 3_000_000_000


def test_ids_in_the_bytes_are_those_of_the_ledger(traffic, messages):
    for request, message in zip(traffic.requests[:20], messages, strict=False):
        high, low, own = traffic.ids(3, request.rows)
        wanted = [
            (int(a).to_bytes(8) + int(b).to_bytes(8), int(c).to_bytes(8))
            for a, b, c in zip(high, low, own, strict=True)
        ]
        assert [(span.trace_id, span.span_id) for span in spans_of(message)] == wanted


def test_same_seed_same_bytes_and_another_seed_others():
    shape = Shape(seed=11, senders=3, batch=20, spans=600)
    first, second, other = Traffic(shape), Traffic(shape), Traffic(Shape(seed=12, senders=3, batch=20, spans=600))
    ends = first.ends(BEGAN, LASTS)
    assert [r.encode(5, ends) for r in first.requests] == [r.encode(5, ends) for r in second.requests]
    assert first.requests[0].encode(5, ends) != other.requests[0].encode(5, other.ends(BEGAN, LASTS))


def test_encoding_leaves_nothing_of_an_earlier_cycle(traffic):
    request, ends = traffic.requests[0], traffic.ends(BEGAN, LASTS)
    before = request.encode(1, ends)
    request.encode(2, ends + 12345)
    assert request.encode(1, ends) == before


def test_no_id_comes_twice_in_many_cycles():
    ordinals = np.arange(5_000, dtype=np.uint64)
    traces = {pair for cycle in range(20) for pair in zip(*trace_ids(9, cycle, ordinals), strict=True)}
    spans = {span for cycle in range(20) for span in span_ids(9, cycle, ordinals)}
    assert len(traces) == len(spans) == 100_000


def test_trace_ids_are_random_in_their_last_seven_bytes():
    _, low = trace_ids(1, 0, np.arange(200_000, dtype=np.uint64))
    kept = ((low & np.uint64((1 << 56) - 1)) < np.uint64((1 << 56) // 10)).sum()
    assert 19_400 < kept < 20_600


def test_hexadecimal():
    first, last = hexadecimal(np.array([0x0123456789ABCDEF], np.uint64))
    assert int(first[0]).to_bytes(8) + int(last[0]).to_bytes(8) == b"0123456789abcdef"


def test_very_late_spans_have_requests_of_their_own():
    traffic = Traffic(Shape(seed=3, senders=2, batch=10, spans=2_000, mix=Mix(very_late=0.1)))
    assert 0.07 < traffic.late.mean() < 0.13
    for request in traffic.requests:
        assert {bool(traffic.late[int(row)]) for row in request.rows} == {request.late}
    assert sorted(int(row) for request in traffic.requests for row in request.rows) == list(range(traffic.spans))


@pytest.mark.parametrize("batch", [1, 2000])
def test_any_batch_size(batch):
    traffic = Traffic(Shape(seed=1, senders=2, batch=batch, spans=200))
    assert {len(request) for request in traffic.requests} == {batch}


def test_nothing_to_send_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        Traffic(Shape(senders=0))
