"""The sampler against `tail_sampling_naive`: random policies and traffic, late spans, copies, shedding, crashes."""

import collections
import logging
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from tail_sampling_naive import UNKNOWN, Naive, flat

from collector.api import Account, Ack, Batch, BuildContext
from processors.tail_sampling import TailSampling

MS = 10**6
KINDS = (
    "always_sample", "latency", "numeric_attribute", "string_attribute", "boolean_attribute", "probabilistic",
    "status_code", "trace_state", "trace_flags", "rate_limiting", "bytes_limiting", "span_count", "byzantine",
)  # fmt: skip
TIMES = (0, 1, 2**63, 2**64 - 1)


def random_leaf(rng, name):
    kind = rng.choice(KINDS)
    low = rng.randint(0, 5)
    options = {
        "latency": {"threshold_ms": rng.choice((0, 5, 50)), "upper_threshold_ms": rng.choice((0, 100))},
        "numeric_attribute": rng.choice(
            ({"min_value": low}, {"max_value": low}, {"min_value": low, "max_value": low + 2})
        )
        | {"key": "n", "invert_match": rng.random() < 0.3},
        "string_attribute": {"key": rng.choice(("s", "r")), "invert_match": rng.random() < 0.3}
        | rng.choice(({"values": ["a", "bb"]}, {"values": ["^a", "c+"], "enabled_regex_matching": True})),
        "boolean_attribute": {"key": "b", "value": rng.random() < 0.5, "invert_match": rng.random() < 0.3},
        "probabilistic": {"sampling_percentage": rng.choice((0, 10, 50, 100))},
        "status_code": {"status_codes": rng.choice((["ERROR"], ["OK", "UNSET"]))},
        "trace_state": {"key": "vendor", "values": ["x", "y"]},
        "rate_limiting": {"spans_per_second": rng.choice((1, 20, 200))},
        "bytes_limiting": {"bytes_per_second": rng.choice((100, 3000))},
        "span_count": {"min_spans": rng.randint(0, 3), "max_spans": rng.choice((0, 3, 5))},
    }
    return {"name": name, "type": kind} | ({kind: options[kind]} if kind in options else {})


def random_sub(rng, name, depth=0):
    roll = rng.random()
    if depth < 2 and roll < 0.15:
        parts = [random_sub(rng, f"{name}.{i}", depth + 1) for i in range(rng.randint(1, 3))]
        return {"name": name, "type": "and", "and": {"and_sub_policy": parts}}
    if depth < 2 and roll < 0.25:
        return {"name": name, "type": "not", "not": {"not_sub_policy": random_sub(rng, f"{name}.0", depth + 1)}}
    return random_leaf(rng, name)


def random_policy(rng, name):
    roll = rng.random()
    if roll < 0.15:
        parts = [random_sub(rng, f"{name}.{i}") for i in range(rng.randint(1, 2))]
        return {"name": name, "type": "drop", "drop": {"drop_sub_policy": parts}}
    if roll < 0.3:
        parts = [random_sub(rng, f"{name}.{i}") for i in range(rng.randint(1, 3))]
        order = [part["name"] for part in parts]
        rng.shuffle(order)
        shares = [{"policy": n, "percent": rng.choice((0, 20, 33))} for n in order if rng.random() < 0.6]
        composite = {
            "max_total_spans_per_second": rng.choice((5, 50)),
            "policy_order": order,
            "composite_sub_policy": parts,
            "rate_allocation": shares,
        }
        return {"name": name, "type": "composite", "composite": composite}
    return random_sub(rng, name)


def random_span(rng, span, key):
    span.trace_id, span.span_id = key, rng.randbytes(8)
    span.name = rng.choice(("layer.execute", "byzantine.verify", "checkpoint.verify", "verification.x", "verify"))
    if rng.random() < 0.6:
        span.parent_span_id = rng.randbytes(8)
    span.start_time_unix_nano = rng.choice(TIMES) if rng.random() < 0.1 else 10**18 + rng.randrange(40) * MS
    span.end_time_unix_nano = rng.choice(TIMES) if rng.random() < 0.1 else 10**18 + rng.randrange(120) * MS
    span.status.code = rng.choice((0, 0, 0, 1, 2))
    span.flags = rng.choice((0, 0, 1, 0x101, 0x300))
    if rng.random() < 0.3:
        span.trace_state = rng.choice(
            (
                "vendor=x",
                "vendor=z",
                "a=b, vendor=y",
                "ot=rv:fedcba98765432",
                "q=1,ot=rv:00000000000001;zz:1",
                "ot=rv:XYZ",
            )
        )
    for attribute_key in ("n", "s", "b", "butterfly.byzantine.fault_type", "butterfly.byzantine.detected"):
        if rng.random() < (0.3 if len(attribute_key) == 1 else 0.03):
            put(rng, span.attributes.add(key=attribute_key).value)
    if rng.random() < 0.1:
        span.attributes.add(key="butterfly.verification.result").value.string_value = rng.choice(("failed", "ok"))
    if rng.random() < 0.1:
        event = span.events.add(name=rng.choice(("byzantine.fault_detected", "byzantine.verification_failed", "gc")))
        if rng.random() < 0.3:
            put(rng, event.attributes.add(key="butterfly.byzantine.detected").value)


def put(rng, value):
    roll = rng.randrange(4)
    if roll == 0:
        value.int_value = rng.randint(-2, 9)
    elif roll == 1:
        value.double_value = rng.choice((0.5, 3.0, float("nan"), float("inf")))
    elif roll == 2:
        value.string_value = rng.choice(("a", "bb", "abc", "true", ""))
    else:
        value.bool_value = rng.random() < 0.7


def random_record(rng, keys, earlier):
    request = ExportTraceServiceRequest()
    for _ in range(rng.randint(1, 2)):
        resource = request.resource_spans.add()
        if rng.random() < 0.3:
            put(rng, resource.resource.attributes.add(key="r").value)
        spans = resource.scope_spans.add().spans
        for _ in range(rng.randint(0, 5)):
            if earlier and rng.random() < 0.1:
                spans.add().CopyFrom(rng.choice(earlier))
            else:
                random_span(rng, spans.add(), rng.choice(keys))
            earlier.append(spans[-1])
    return request


class Rig:
    """The graph's part: a log, a journal, a head, a tail; and the naive sampler beside the real one."""

    def __init__(self, rng):
        self.rng = rng
        self.wait_ms = rng.choice((20, 50))
        root_ms = rng.choice((0, 0, 10))
        policies = [random_policy(rng, f"p{i}") for i in range(rng.randint(1, 4))]
        plain = {
            "policies": policies,
            "decision_wait": f"{self.wait_ms}ms",
            "decision_wait_after_root_received": f"{root_ms}ms",
            "num_traces": rng.choice((3, 130, 1000)),
            "max_spans_per_trace": rng.choice((4, 1000)),
            "sample_on_first_match": rng.random() < 0.3,
            "record_policy": rng.random() < 0.5,
        }
        self.config = TailSampling.Config.model_validate(plain)
        self.naive_config = plain | {
            "wait_ns": self.wait_ms * MS,
            "root_wait_ns": root_ms * MS,
            "max_spans": plain["max_spans_per_trace"],
        }
        self.log, self.journal, self.durable = [], [], {}
        self.tail = self.now = 0
        self.begin()

    def begin(self):
        self.context = BuildContext("tail_sampling", logging.getLogger("test"))
        self.real = TailSampling(self.config, self.context)
        for blob in self.journal:
            self.real.restore(blob)
        self.naive = Naive(self.naive_config, self.durable)
        self.copies = [set(), set()]
        self.period = None
        for position in range(self.tail, len(self.log)):
            self.observe(position)

    def observe(self, position):
        request, now = self.log[position]
        sizes = [span.ByteSize() for span, _ in flat(request)]
        self.real.tick(now)
        self.real.observe(Batch(request.SerializeToString(), Ack.ignore()), position, position + 1, now)
        self.naive.observe(request, sizes, position, now)

    def append(self, request):
        self.log.append((request, self.now))
        self.observe(len(self.log) - 1)

    def tick(self):
        self.real.tick(self.now)
        self.naive.advance(self.now)

    def publish(self):
        boundary = self.real.boundary()
        if self.log and self.naive.next:
            assert boundary == self.naive.boundary
        verdicts = self.real.take_verdicts()
        if verdicts:
            self.journal.append(verdicts.blob)
        self.durable = dict(self.naive.verdicts)
        return boundary

    def process(self, until):
        while self.tail < min(until, len(self.log)):
            request, now = self.log[self.tail]
            want, reasons = self.expected(request, now)
            account = Account("traces")
            account.accept(len(flat(request)))
            batch = Batch(request.SerializeToString(), Ack.ignore(), account=account)
            (out,) = self.real.process(batch)
            got = flat(ExportTraceServiceRequest.FromString(out.to_bytes()))
            assert [seen(span) for span, _ in got] == want
            assert len(out) == len(want)
            assert dict(account.filtered) == {reason: n for reason, n in reasons.items() if n}
            assert account.imbalance() == 0
            self.tail += 1
            self.real.settled(self.tail)

    def expected(self, request, now):
        period = now // (self.wait_ms * MS)
        if self.period is not None and period > self.period:
            self.copies = [set(), self.copies[0]] if period == self.period + 1 else [set(), set()]
        self.period = period if self.period is None else max(period, self.period)
        want, reasons = [], collections.Counter()
        roots, firsts = {}, {}
        for span, _ in flat(request):
            sampled, policy, threshold, dropped = self.naive.verdicts[span.trace_id]
            if not sampled:
                reasons["dropped_by_policy" if dropped else "not_sampled"] += 1
                continue
            body = span.SerializeToString()
            if body in self.copies[0] or body in self.copies[1]:
                reasons["duplicate"] += 1
                continue
            self.copies[0].add(body)
            firsts.setdefault(span.trace_id, len(want))
            if not span.parent_span_id:
                roots.setdefault(span.trace_id, len(want))
            want.append([body, threshold, None, policy])
        if self.config.record_policy:
            for row in (firsts | roots).values():
                want[row][2] = want[row][3]
        return [expected_span(body, threshold, note) for body, threshold, note, _ in want], reasons


def th_of(state):
    for member in state.split(","):
        if member.strip().startswith("ot="):
            for part in member.strip()[3:].split(";"):
                if part.startswith("th:"):
                    return part[3:]
    return None


def seen(span):
    plain = type(span)()
    plain.CopyFrom(span)
    notes = [a for a in plain.attributes if a.key == "butterfly.sampling.policy"]
    for note in notes:
        plain.attributes.remove(note)
    plain.trace_state = ""
    return plain.SerializeToString(deterministic=True), th_of(span.trace_state), [n.value.string_value for n in notes]


def expected_span(body, threshold, note):
    span = ExportTraceServiceRequest().resource_spans.add().scope_spans.add().spans.add()
    span.ParseFromString(body)
    span.trace_state = ""
    th = None if threshold == UNKNOWN else (f"{threshold:014x}".rstrip("0") or "0")
    return span.SerializeToString(deterministic=True), th, [note] if note else []


def drive(seed, steps=60):
    rng = random.Random(seed)
    rig = Rig(rng)
    keys, earlier = [], []
    for _ in range(steps):
        if len(keys) < 6 or rng.random() < 0.3:
            keys.append(rng.randbytes(16))
        rig.now += rng.choice((0, 0, 1, 3, 3, 10, 70)) * MS
        roll = rng.random()
        if roll < 0.7:
            rig.append(random_record(rng, keys[-8:], earlier))
            del earlier[:-30]
        elif roll < 0.8:
            rig.tick()
        elif roll < 0.85 and rig.log:
            position = rng.randint(rig.tail, len(rig.log))
            rig.real.shed(position)
            rig.naive.shed(position)
        boundary = rig.publish() if rng.random() < 0.8 else 0
        if rng.random() < 0.7:
            rig.process(boundary)
        if rng.random() < 0.03:  # kill -9; what was processed after the commit comes again
            rig.tail = rng.randint(max(0, rig.tail - 3), rig.tail)
            rig.begin()
    late = rig.real.context.meter.registry
    for sampled, decision in ((True, "sampled"), (False, "not_sampled")):
        labels = {"processor": "tail_sampling", "decision": decision}
        assert (late.get_sample_value("butterfly_sampling_late_spans_total", labels) or 0) == rig.naive.late[sampled]
    rig.now += 1000 * MS
    rig.tick()
    rig.process(rig.publish())
    assert rig.tail == len(rig.log)
    assert rig.real.boundary() in (0, len(rig.log))


@settings(max_examples=120, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_every_span_fares_as_in_the_naive_sampler(seed):
    drive(seed)


@pytest.mark.soak
def test_every_span_fares_as_in_the_naive_sampler_for_long():
    for seed in range(20_000):
        drive(seed, steps=120)
