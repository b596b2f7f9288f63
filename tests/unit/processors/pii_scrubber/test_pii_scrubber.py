"""The processor: key rules, peppers, what fails closed, what is counted, what is said."""

import hashlib
import hmac
import logging

import numpy as np
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from pydantic import ValidationError

from bench.generator.traffic import Shape, Traffic
from collector.api import Account, Ack, Batch, BuildContext, Malformed, Outcome, Probes, Signal, scan
from collector.testing.contract import ProcessorContract
from processors.pii_scrubber import PiiScrubber
from processors.pii_scrubber.actions import Action, What
from processors.pii_scrubber.detect import KIND_NAMES, ValueDetectors
from processors.pii_scrubber.key_rules import KeyRule, KeyRules
from processors.pii_scrubber.processor import UnreadyError
from processors.pii_scrubber.scrubber import Scrubber

PEPPER = "0123456789abcdef"


def build(**config):
    options = PiiScrubber.Config.model_validate({"pepper": PEPPER, **config})
    assert PiiScrubber.problems(options) == []
    return PiiScrubber(options, BuildContext("pii", logging.getLogger("butterfly.pii")))


def problems(**config):
    return PiiScrubber.problems(PiiScrubber.Config.model_validate(config))


def request(**attributes):
    """One span with these attributes, `__` for a dot."""
    made = ExportTraceServiceRequest()
    span = made.resource_spans.add().scope_spans.add().spans.add(name="layer.execute")
    for key, value in attributes.items():
        span.attributes.append(KeyValue(key=key.replace("__", "."), value=any_value(value)))
    return made.SerializeToString()


def any_value(value):
    if isinstance(value, str):
        return AnyValue(string_value=value)
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    if isinstance(value, bytes):
        return AnyValue(bytes_value=value)
    if isinstance(value, list):
        return AnyValue(array_value=ArrayValue(values=map(any_value, value)))
    pairs = [KeyValue(key=key, value=any_value(inner)) for key, inner in value.items()]
    return AnyValue(kvlist_value=KeyValueList(values=pairs))


def plain(value):
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [plain(one) for one in value.array_value.values]
    if kind == "kvlist_value":
        return {one.key: plain(one.value) for one in value.kvlist_value.values}
    return getattr(value, kind)


def read(payload):
    (span,) = ExportTraceServiceRequest.FromString(payload).resource_spans[0].scope_spans[0].spans
    return {one.key: plain(one.value) for one in span.attributes}


def run(processor, payload):
    """What comes out, delivered."""
    batch = Batch(payload, Ack.ignore(), count=1)
    (out,) = processor.process(batch)
    out.ack.resolve(Outcome.DELIVERED)
    return out.payload


def scrubbed(processor, **attributes):
    return read(run(processor, request(**attributes)))


def count(processor, **labels):
    return processor.context.meter.registry.get_sample_value(
        "butterfly_pii_failed_closed_total" if "reason" in labels else "butterfly_pii_findings_total",
        {"processor": "pii", **labels},
    )


def hashed(value, key_id="k1", pepper=PEPPER):
    return f"{key_id}:{hmac.new(pepper.encode(), value.encode(), hashlib.sha256).hexdigest()}"


class TestContract(ProcessorContract):
    processor = PiiScrubber
    config = {"ephemeral_pepper": True}  # noqa: RUF012 - as a user writes it


class TestContractOfNothing(ProcessorContract):
    processor = PiiScrubber
    config = {"preset": "none", "detect": []}  # noqa: RUF012


@pytest.mark.parametrize(
    ("key", "value", "expected", "rule"),
    [
        ("user.id", "u-0000001", hashed("u-0000001"), "hash"),
        ("enduser.id", 12345, hashed("12345"), "hash"),
        ("user.id", ["a", "b"], [hashed("a"), hashed("b")], "hash"),
        ("user.id", {"given": "a"}, {"given": hashed("a")}, "hash"),
        ("gen_ai.prompt", "Grüße an alle", 13, "length"),
        ("gen_ai.prompt.0.content", "hi", 2, "length"),
        ("gen_ai.input.messages", [{"role": "user", "content": "hello"}], [{"role": 4, "content": 5}], "length"),
        ("client.address", "203.0.113.7", "203.0.0.0", "mask"),
        ("client.address", "2001:db8:1:2::3", "2001:db8:1::", "mask"),
        ("client.address", "ann-laptop.local", "****", "mask"),
        ("client.address", 3405803783, "****", "mask"),
        ("http.request.header.x-forwarded-for", ["10.1.2.3, 10.2.3.4"], ["10.1.0.0, 10.2.0.0"], "mask"),
        ("network.peer.address", "10.20.30.40:7443", "10.20.0.0", "mask"),
        ("butterfly.tensor.values", [0.25, 1.5], "[redacted]", "redact"),
        ("db.password", "hunter2", "[redacted]", "redact"),
        ("http.request.header.authorization", ["Basic abc"], "[redacted]", "redact"),
        ("note", "mail ann@example.com", "mail [email]", "email"),
        ("note", b"\xff\xfe ann@example.com", b"\xff\xfe [email]", "email"),
    ],
)
def test_the_preset(key, value, expected, rule):
    processor = build()
    assert scrubbed(processor, **{key.replace(".", "__"): value}) == {key: expected}
    assert count(processor, rule=rule) >= 1


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("butterfly.tensor.shape", "[4,2048,8192]"),
        ("butterfly.tensor.shape", [4, 2048, 8192]),
        ("network.peer.address", "node-001.internal"),
        ("gen_ai.prompt", 57),
        ("client.address", "203.0.0.0"),
        ("butterfly.request.id", "req-0123456789abcdef"),
        ("user.id", ""),
        ("http.response.status_code", 200),
        ("ratio", 0.25),
        ("cached", True),
        ("service.name", "butterfly-worker"),
    ],
)
def test_what_is_not_personal_is_the_same_object(key, value):
    payload = request(**{key.replace(".", "__"): value})
    assert run(build(), payload) is payload


def test_a_shape_that_is_none_is_looked_at():
    assert scrubbed(build(), butterfly__tensor__shape="ann@example.com") == {"butterfly.tensor.shape": "[email]"}


def test_twice_scrubbed_is_once_scrubbed_but_for_hashes():
    processor = build()
    once = run(processor, request(gen_ai__prompt="hi there", client__address="203.0.113.7", note="ann@example.com"))
    assert run(processor, once) is once


def test_rules_of_ones_own_come_first_and_in_order():
    processor = build(
        rules=[
            {"keys": ["user.id"], "action": "ignore"},
            {"keys": ["crm.*"], "action": "delete"},
            {"keys": ["crm.id", "order"], "action": "redact"},
            {"patterns": ["(?i)passport"], "action": "mask", "mask": "(passport)"},
            {"keys": ["client.address"], "action": "detect"},
        ]
    )
    values = {
        "user__id": "u-1", "crm__id": "7", "crm__x": "8", "order": "9", "my__PASSPORT__no": "10",
        "client__address": "laptop", "user__name": "ann",
    }  # fmt: skip
    for _ in range(2):  # keys are asked for once, then remembered
        assert scrubbed(processor, **values) == {
            "user.id": "u-1",
            "order": "[redacted]",
            "my.PASSPORT.no": "(passport)",
            "client.address": "laptop",
            "user.name": hashed("ann"),
        }
    assert count(processor, rule="delete") == 4


def test_a_rule_on_a_map_reaches_all_inside_and_ignore_leaves_all():
    processor = build(rules=[{"keys": ["m"], "action": "length"}, {"keys": ["i"], "action": "ignore"}])
    inside = {"a": "xx", "b": ["yyy", 1.5, True], "c": {"user.id": "u"}}
    found = scrubbed(processor, m=inside, i={"user.id": "u", "mail": "ann@example.com"})
    assert found["m"] == {"a": 2, "b": [3, "[redacted]", True], "c": {"user.id": 1}}
    assert found["i"] == {"user.id": "u", "mail": "ann@example.com"}


def test_rules_hold_inside_of_maps_too():
    assert scrubbed(build(), context={"user.id": "u-1", "n": [{"password": "x"}]}) == {
        "context": {"user.id": hashed("u-1"), "n": [{"password": "[redacted]"}]}
    }


def test_values_of_ones_own_kind():
    processor = build(
        custom_patterns=[
            {"name": "badge", "pattern": r"badge[ :]*(\d{6})"},
            {"name": "plate", "pattern": "B-[A-Z]{2} [0-9]{1,4}", "mask": "(plate)"},
        ],
        allowed_values=["support@example[.]com"],
    )
    text = "badge: 123456, B-XY 123, ann@example.com, support@example.com"
    assert scrubbed(processor, note=text) == {"note": "badge: [badge], (plate), [email], support@example.com"}
    assert count(processor, rule="custom") == 2
    assert count(processor, rule="email") == 1


def test_detectors_can_be_chosen():
    assert scrubbed(build(detect=["ipv4"]), note="ann@example.com from 10.1.2.3") == {
        "note": "ann@example.com from 10.1.0.0"
    }


def test_numbers_are_looked_at_where_it_says_so():
    card = 4111111111111111
    assert scrubbed(build(), n=card) == {"n": card}
    assert scrubbed(build(redact_all_types=True), n=card, m=12, d=0.5) == {"n": "[card]", "m": 12, "d": 0.5}


def test_equal_users_have_equal_hashes_under_every_key():
    processor = build()
    first = scrubbed(processor, user__id="ann", enduser__id="ann")
    assert first["user.id"] == first["enduser.id"] == scrubbed(processor, user_id="ann")["user_id"]
    assert first["user.id"] != scrubbed(build(pepper="another pepper 16"), user__id="ann")["user.id"]


def test_many_users_are_hashed_right_though_few_are_remembered():
    processor = build()
    for number in range(20_000):
        if number % 7 == 0 or number > 19_900:
            assert scrubbed(processor, user__id=f"u{number}") == {"user.id": hashed(f"u{number}")}


def test_the_current_pepper_counts():
    peppers = [{"key_id": "old", "pepper": PEPPER}, {"key_id": "new", "pepper": PEPPER[::-1]}]
    options = {"pepper": "", "peppers": peppers}
    assert scrubbed(build(**options, key_id="new"), user__id="a") == {"user.id": hashed("a", "new", PEPPER[::-1])}
    assert scrubbed(build(**options, key_id="old"), user__id="a") == {"user.id": hashed("a", "old")}


def test_a_pepper_in_a_file_is_waited_for(tmp_path, caplog):
    file = tmp_path / "pepper"
    processor = build(pepper="", pepper_file=str(file))
    batch = Batch(request(user__id="a"), Ack.ignore(), count=1)
    for _ in range(3):
        with pytest.raises(UnreadyError, match="can't be read"):
            processor.process(batch)
    file.write_text("too short")
    with pytest.raises(UnreadyError, match="fewer than 16"):
        processor.process(batch)
    assert len(caplog.records) == 1
    assert str(tmp_path) not in caplog.text
    file.write_text(f"{PEPPER}\n")
    assert read(run(processor, batch.payload)) == {"user.id": hashed("a")}
    batch.ack.resolve(Outcome.RETRY, "")


def test_without_a_pepper_there_is_no_start():
    ((path, sentence),) = problems()
    assert path == ("pepper",)
    assert "pepper_file" in sentence
    assert problems(pepper="") != []
    assert problems(ephemeral_pepper=True) == problems(preset="none") == problems(pepper=PEPPER) == []
    assert problems(preset="none", rules=[{"keys": ["a"], "action": "hash"}]) != []


@pytest.mark.parametrize(
    ("config", "path"),
    [
        ({"pepper": "short"}, ("pepper",)),
        ({"pepper": PEPPER, "pepper_file": "f"}, ("pepper_file",)),
        ({"pepper": PEPPER, "peppers": [{"key_id": "k1", "pepper": PEPPER}]}, ("peppers",)),
        ({"peppers": [{"key_id": "k2", "pepper": PEPPER}]}, ("key_id",)),
        ({"peppers": [{"key_id": "k1"}]}, ("peppers", 0)),
        ({"peppers": [{"key_id": "k1", "pepper": PEPPER}] * 2}, ("peppers", 1, "key_id")),
        ({"pepper": PEPPER, "rules": [{"action": "hash"}]}, ("rules", 0)),
        ({"pepper": PEPPER, "rules": [{"keys": ["a"], "action": "hash", "mask": "x"}]}, ("rules", 0, "mask")),
        ({"pepper": PEPPER, "rules": [{"patterns": ["a", "(?=b)"], "action": "hash"}]}, ("rules", 0, "patterns", 1)),
        ({"pepper": PEPPER, "rules": [{"keys": ["*"] * 201, "action": "hash"}]}, ("rules",)),
        ({"pepper": PEPPER, "custom_patterns": [{"name": "a", "pattern": "("}]}, ("custom_patterns", 0, "pattern")),
        ({"pepper": PEPPER, "allowed_values": ["("]}, ("allowed_values", 0)),
    ],
)
def test_what_can_not_run_is_said_at_its_place(config, path):
    assert [where for where, _ in problems(**config)] == [path]
    assert PEPPER not in str(problems(**config))


def test_what_is_unknown_is_refused():
    for config in ({"detect": ["mail"]}, {"rules": [{"keys": ["a"], "action": "drop"}]}, {"key_id": "a b"}):
        with pytest.raises(ValidationError):
            PiiScrubber.Config.model_validate(config)


def test_warnings():
    config = {"detect": [], "rules": [{"keys": ["a"], "action": "hash"}, {"keys": ["b", "a"], "action": "length"}]}
    found = PiiScrubber.warnings(PiiScrubber.Config.model_validate(config))
    assert [path for path, _ in found] == [("detect",), ("rules", 1, "keys", 1)]
    assert PiiScrubber.warnings(PiiScrubber.Config()) == []


def test_bad_utf8_is_redacted_whole():
    payload = request(note="\x01\x01ann@example.com", user__id="\x01\x01b").replace(b"\x01\x01", b"\xff\x80")
    processor = build()
    assert read(run(processor, payload)) == {"note": "[redacted]", "user.id": "[redacted]"}
    assert count(processor, reason="bad_utf8") == 2


def test_what_is_nested_too_deep_is_redacted():
    value = "ann@example.com"
    for _ in range(40):
        value = [value]
    processor = build()
    payload = run(processor, request(note=value))
    assert b"ann@" not in payload
    found, depth = read(payload)["note"], 0
    while isinstance(found, list):
        (found,) = found
        depth += 1
    assert (found, depth) == ("[redacted]", 31)
    assert count(processor, reason="too_deep") == 1


def test_what_is_too_long_to_look_at_is_redacted_and_only_then():
    processor = build(max_value_size=100)
    clean, found = "x" * 200, "x" * 200 + " ann@example.com"
    assert scrubbed(processor, a=clean, b=found) == {"a": clean, "b": "[redacted]"}
    assert count(processor, reason="too_long") == 1


def test_an_endless_key_goes_with_its_value():
    processor = build()
    assert scrubbed(processor, **{"k" * 513: "v", "k" * 512: "w"}) == {"k" * 512: "w"}
    assert count(processor, reason="long_key") == 1


def test_a_key_that_holds_an_address_is_scrubbed_and_not_remembered():
    assert scrubbed(build(), **{"ann@example__com": "x"}) == {"[email]": "x"}


def test_what_is_not_otlp_is_removed_and_booked():
    processor = build()
    account = Account("traces")
    account.accept(1)
    batch = Batch(b"\x0a\xff", Ack.ignore(), count=1, account=account)
    (out,) = processor.process(batch)
    assert (out.payload, len(out)) == (b"", 0)
    assert account.filtered == {"pii_unreadable": 1}
    out.ack.resolve(Outcome.FILTERED)
    assert count(processor, reason="malformed") == 1


def failing(error):
    def digest(value):
        raise error

    rules = KeyRules([KeyRule(("user.id",), Action(What.HASH))])
    return Scrubber(ValueDetectors(KIND_NAMES), rules, digest=digest)


def test_what_fails_inside_is_redacted():
    scrubber = failing(RuntimeError("u-1 is bad"))
    assert read(scrubber.scrub("traces", request(user__id="u-1"))) == {"user.id": "[redacted]"}
    assert scrubber.take_counts() == ({}, {"internal": 1})
    assert scrubber.take_counts() == ({}, {})


def test_no_memory_is_no_reason_to_pass():
    with pytest.raises(MemoryError):
        failing(MemoryError()).scrub("traces", request(user__id="u-1"))


def test_it_can_go_on_after_a_failure():
    scrubber = failing(MemoryError())
    with pytest.raises(Malformed):
        scrubber.scrub("traces", b"\x0a\xff")
    with pytest.raises(MemoryError):
        scrubber.scrub("traces", request(user__id="u-1"))
    assert read(scrubber.scrub("traces", request(note="ann@example.com"))) == {"note": "[email]"}


def test_one_request_at_a_time():
    inner = []

    def digest(value):
        with pytest.raises(RuntimeError, match="one request"):
            scrubber.scrub("traces", request(user__id="u-2"))
        inner.append(value)
        return b"\x01"

    rules = KeyRules([KeyRule(("user.id",), Action(What.HASH))])
    scrubber = Scrubber(ValueDetectors(()), rules, digest=digest)
    assert read(scrubber.scrub("traces", request(user__id="u-1"))) == {"user.id": "01"}
    assert inner == [b"u-1"]


def test_tracestate_keeps_what_the_sampler_needs():
    made = ExportTraceServiceRequest()
    state = "v=ann@example.com,ot=th:8;rv:41111111111111,w=4111111111111111"
    made.resource_spans.add().scope_spans.add().spans.add(trace_state=state)
    made.ParseFromString(run(build(), made.SerializeToString()))
    assert made.resource_spans[0].scope_spans[0].spans[0].trace_state == "v=[email],ot=th:8;rv:41111111111111,w=[card]"


def test_nothing_found_is_said_anywhere(caplog):
    with caplog.at_level(logging.DEBUG):
        processor = build()
        scrubbed(processor, user__id="ann-secret", note="ann@example.com", my__secret="hunter2")
        text = repr(processor) + caplog.text
        metrics = [str(sample) for family in processor.context.meter.registry.collect() for sample in family.samples]
    assert not any(secret in text + "".join(metrics) for secret in ("ann", "hunter2", "my.secret", "user.id", PEPPER))


def test_metrics_and_logs_pass_the_same_way():
    processor = build()
    for signal in (Signal.METRICS, Signal.LOGS):
        clean = Batch(b"", Ack.ignore(), signal=signal, count=3)
        (out,) = processor.process(clean)
        assert out is clean
        out.ack.resolve(Outcome.DELIVERED)


def test_many_new_keys_are_forgotten_again():
    processor = build()
    for first in range(0, 40_000, 200):
        keys = {f"key__{'x' * 40}__{number}": "v" for number in range(first, first + 200)}
        payload = request(**keys, user__id="u")
        assert read(run(processor, payload))["user.id"] == hashed("u")


def test_the_sampler_sees_butterflys_traffic_as_it_was():
    """Ids, times, status and what the policies look for; and nothing personal is left."""
    traffic = Traffic(Shape(spans=2000))
    ends = traffic.ends(1_700_000_000_000_000_000, 10**10)
    probes = Probes()
    probes.status(2)
    probes.attribute_bool("butterfly.byzantine.detected", value=True)
    probes.attribute_exists("butterfly.byzantine.fault_type")
    probes.event_name(prefixes=["byzantine."])
    probes.trace_state("ot", ["th:8"])
    processor = build()
    changed = 0
    for made in traffic.requests:
        payload = made.encode(0, ends)
        new = run(processor, payload)
        changed += new is not payload
        before, after = scan(payload, probes), scan(new, probes)
        for column in ("trace_hi", "trace_lo", "span_id", "parent_id", "start", "end", "kind", "status", "matches"):
            assert np.array_equal(getattr(before, column), getattr(after, column)), column
        assert not any(sign in new for sign in (b"example.com", b"203.0.113.", b"Regards", b"4242"))
    assert changed > 0
    assert count(processor, rule="hash") > 100
    assert count(processor, rule="mask") > 50
    assert count(processor, rule="length") > 30
