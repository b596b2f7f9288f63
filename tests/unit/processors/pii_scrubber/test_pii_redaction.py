"""The Collector's `redaction`: its options do here what they do there."""

import hashlib
import hmac
import logging

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList

from collector.api import Ack, Batch, BuildContext, Outcome, Signal
from collector.testing.contract import ProcessorContract
from processors.pii_scrubber import Redaction

VISA = "4[0-9]{12}(?:[0-9]{3})?"


def build(**config):
    options = Redaction.Config.model_validate(config)
    assert Redaction.problems(options) == []
    return Redaction(options, BuildContext("redaction", logging.getLogger("butterfly.redaction")))


def any_value(value):
    if isinstance(value, dict):
        pairs = [KeyValue(key=key, value=any_value(inner)) for key, inner in value.items()]
        return AnyValue(kvlist_value=KeyValueList(values=pairs))
    if isinstance(value, list):
        return AnyValue(array_value=ArrayValue(values=map(any_value, value)))
    return AnyValue(int_value=value) if isinstance(value, int) else AnyValue(string_value=value)


def plain(value):
    kind = value.WhichOneof("value")
    if kind == "kvlist_value":
        return {one.key: plain(one.value) for one in value.kvlist_value.values}
    if kind == "array_value":
        return [plain(one) for one in value.array_value.values]
    return getattr(value, kind)


def run(processor, request, signal=Signal.TRACES):
    (out,) = processor.process(Batch(request.SerializeToString(), Ack.ignore(), count=1, signal=signal))
    out.ack.resolve(Outcome.DELIVERED)
    return type(request).FromString(out.payload)


def redacted(processor, **attributes):
    request = ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add(name="GET /")
    span.attributes.extend(KeyValue(key=key, value=any_value(value)) for key, value in attributes.items())
    (span,) = run(processor, request).resource_spans[0].scope_spans[0].spans
    return {one.key: plain(one.value) for one in span.attributes}


class TestContract(ProcessorContract):
    processor = Redaction
    config = {"allowed_keys": ["http.route"]}  # noqa: RUF012 - as a user writes it


def test_attributes_that_are_not_allowed_are_removed():
    processor = build(allowed_keys=["id", "group"], ignored_keys=["safe"], ignored_key_patterns=["^also_"])
    values = {"id": "1", "group": "g", "name": "n", "safe": "s", "also_safe": "t", "redaction.masked.count": 3}
    assert redacted(processor, **values) == {name: values[name] for name in values if name != "name"}


def test_an_empty_list_allows_nothing_and_a_flag_all():
    assert redacted(build(), id="1") == {}
    assert redacted(build(allow_all_keys=True), id="1") == {"id": "1"}


def test_blocked_values_are_masked_where_they_match():
    processor = build(allow_all_keys=True, blocked_values=[VISA])
    assert redacted(processor, note="paid by 4111111111111111 today", n=4111111111111111) == {
        "note": "paid by **** today",
        "n": 4111111111111111,
    }
    assert redacted(build(allow_all_keys=True, blocked_values=[VISA], redact_all_types=True), n=4111111111111111) == {
        "n": "****"
    }


def test_blocked_keys_are_masked_whole():
    processor = build(allow_all_keys=True, blocked_key_patterns=[".*token.*"], ignored_keys=["token_id"])
    values = {"my_token": "abc", "token_id": "7", "tokens": 12, "token.list": ["a", "b"], "other": "abc"}
    assert redacted(processor, **values) == {
        "my_token": "****", "token_id": "7", "tokens": "****", "token.list": ["****", "****"], "other": "abc",
    }  # fmt: skip
    assert redacted(
        build(allowed_keys=["a_token", "b"], blocked_key_patterns=["token"]), a_token="x", b="y", c="z"
    ) == {
        "a_token": "****",
        "b": "y",
    }


def test_an_allowed_value_wins_over_blocked_keys_and_values():
    processor = build(
        allow_all_keys=True,
        blocked_key_patterns=["token"],
        blocked_values=["mycompany[.]com"],
        allowed_values=["support[.]mycompany[.]com", "^public$"],
    )
    values = {"a": "support.mycompany.com", "b": "www.mycompany.com", "token": "public", "my_token": "secret"}
    assert redacted(processor, **values) == {**values, "b": "www.****", "my_token": "****"}


@pytest.mark.parametrize("name", ["md5", "sha1", "sha3", "hmac-sha256", "hmac-sha512"])
def test_hash_functions(name):
    key = "the key" if name.startswith("hmac") else ""
    processor = build(
        allow_all_keys=True, blocked_key_patterns=["token"], blocked_values=[VISA], hash_function=name, hmac_key=key
    )

    def hashed(text):
        if key:
            return hmac.new(key.encode(), text.encode(), name.removeprefix("hmac-")).hexdigest()
        return hashlib.new("sha3_256" if name == "sha3" else name, text.encode()).hexdigest()

    assert redacted(processor, token="abc", note="by 4111111111111111") == {
        "token": hashed("abc"),
        "note": f"by {hashed('4111111111111111')}",
    }


def test_bodies_of_logs_are_held_to_the_list_all_the_way_down():
    request = ExportLogsServiceRequest()
    record = request.resource_logs.add().scope_logs.add().log_records.add()
    inside = {"id": "1", "secret": "x", "group": {"id": "2", "secret": "y", "list": []}}
    record.body.CopyFrom(any_value(inside))
    record.attributes.add(key="group").value.CopyFrom(any_value({"secret": "kept"}))
    (record,) = (
        run(build(allowed_keys=["id", "group"]), request, Signal.LOGS).resource_logs[0].scope_logs[0].log_records
    )
    assert plain(record.body) == {"id": "1", "group": {"id": "2"}}
    assert {one.key: plain(one.value) for one in record.attributes} == {"group": {"secret": "kept"}}


@pytest.mark.parametrize(
    ("config", "path"),
    [
        ({"blocked_values": ["a", "("]}, ("blocked_values", 1)),
        ({"ignored_key_patterns": ["(?=a)"]}, ("ignored_key_patterns", 0)),
        ({"hash_function": "hmac-sha256"}, ("hmac_key",)),
        ({"url_sanitizer": {"enabled": True, "attributes": ["url"]}}, ("url_sanitizer",)),
        ({"db_sanitizer": {"sql": {"enabled": True}}}, ("db_sanitizer",)),
    ],
)
def test_what_can_not_run_is_said_at_its_place(config, path):
    assert [where for where, _ in Redaction.problems(Redaction.Config.model_validate(config))] == [path]


def test_a_sanitizer_that_is_off_is_no_problem():
    config = {"url_sanitizer": {"enabled": False}, "db_sanitizer": {"sql": {"enabled": False}}}
    assert Redaction.problems(Redaction.Config.model_validate(config)) == []


def test_warnings():
    config = Redaction.Config.model_validate({"summary": "debug", "hash_function": "md5"})
    assert [path for path, _ in Redaction.warnings(config)] == [("summary",), ("allowed_keys",), ("hash_function",)]
    assert Redaction.warnings(Redaction.Config.model_validate({"allow_all_keys": True, "summary": "silent"})) == []


def summed_up(attributes, **config):
    """The span's attributes afterwards, as a dict."""
    request = ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add(name="x", trace_id=bytes(16), span_id=bytes(8))
    for key, value in attributes.items():
        one = span.attributes.add(key=key).value
        if isinstance(value, int):
            one.int_value = value
        else:
            one.string_value = value
    processor = Redaction(
        Redaction.Config.model_validate(config), BuildContext("redaction", logging.getLogger("butterfly.redaction"))
    )
    batch = Batch(request.SerializeToString(), Ack.ignore(), count=1)
    (out,) = processor.process(batch)
    assert len(out) == 1
    (got,) = ExportTraceServiceRequest.FromString(out.to_bytes()).resource_spans[0].scope_spans[0].spans
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in got.attributes}


SEEN = {
    "id": "4111111111111",
    "keep": "ok",
    "mail": "ann@mycompany.com 4111111111111",
    "gone": "x",
    "safe": "4111111111111",
}
LISTS = {
    "allowed_keys": ["id", "keep", "mail"],
    "ignored_keys": ["safe"],
    "blocked_values": ["4[0-9]{12}"],
    "allowed_values": [".+@mycompany.com"],
}


def test_the_summary_names_what_was_done():
    assert summed_up(SEEN, summary="debug", **LISTS) == {
        "id": "****",
        "keep": "ok",
        "mail": SEEN["mail"],
        "safe": SEEN["safe"],
        "redaction.redacted.keys": "gone",
        "redaction.redacted.count": 1,
        "redaction.masked.keys": "id",
        "redaction.masked.count": 1,
        "redaction.allowed.keys": "mail",
        "redaction.allowed.count": 1,
        "redaction.ignored.count": 1,
    }


def test_info_counts_alone_and_silence_says_nothing():
    told = summed_up(SEEN, summary="info", **LISTS)
    assert {key: value for key, value in told.items() if key.startswith("redaction.")} == {
        "redaction.redacted.count": 1,
        "redaction.masked.count": 1,
        "redaction.allowed.count": 1,
        "redaction.ignored.count": 1,
    }
    for summary in ("silent", ""):
        assert not [key for key in summed_up(SEEN, summary=summary, **LISTS) if key.startswith("redaction.")]


def test_a_summary_is_added_to_that_of_the_collector_before_us():
    earlier = {"redaction.masked.keys": "zip", "redaction.masked.count": 2, "b": "4111111111111", "a": "4111111111111"}
    told = summed_up(earlier, summary="debug", allow_all_keys=True, blocked_values=["4[0-9]{12}"])
    assert told["redaction.masked.keys"] == "a,b,zip"
    assert told["redaction.masked.count"] == 4


def test_the_summary_follows_where_attributes_are_removed_and_keys_are_masked():
    seen = {"a" * 600: "x", "4111111111111": "y", "drop": "z", "n": "4111111111111"}
    told = summed_up(seen, summary="debug", allowed_keys=["4111111111111", "n"], blocked_values=["4[0-9]{12}"])
    assert told["redaction.redacted.count"] == 2
    assert told["redaction.masked.count"] == 2
    assert told["redaction.redacted.keys"] == "[redacted],drop"
    assert told["redaction.masked.keys"] == "****,n", "a key's own text may be what is blocked"


def test_a_summary_of_the_senders_own_making_breaks_nothing():
    seen = {"redaction.masked.count": 2**63 - 1, "redaction.redacted.count": "many", "n": "4111111111111", "x": "y"}
    told = summed_up(seen, summary="info", allowed_keys=["n"], blocked_values=["4[0-9]{12}"])
    assert told["redaction.masked.count"] == 2**63 - 1
    assert told["redaction.redacted.count"] == 1


def test_what_is_no_utf8_is_scrubbed_without_a_summary():
    request = ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add(name="broken", trace_id=bytes(16), span_id=bytes(8))
    span.attributes.add(key="n").value.string_value = "4111111111111"
    payload = request.SerializeToString().replace(b"broken", b"br\xffken")
    (out,) = build(summary="debug", allow_all_keys=True, blocked_values=["4[0-9]{12}"]).process(
        Batch(payload, Ack.ignore(), count=1)
    )
    (got,) = ExportTraceServiceRequest.FromString(out.to_bytes()).resource_spans[0].scope_spans[0].spans
    assert (got.name, got.attributes[0].value.string_value) == ("[redacted]", "****")
