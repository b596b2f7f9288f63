"""What the `loki` exporter makes of answers, in the words of Loki's releases."""

import pytest

from exporters.http_post import Answer
from exporters.loki.answers import Meaning, verdict

STREAM = '{app="a", level="info"}'


def said(text, status=400):
    return verdict(Answer(status, {}, text.encode()), otlp=False)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"entry for stream '{STREAM}' has timestamp too old: 2026-11-20 09:49:58.2 +0000 UTC", "too_old"),
        (f"entry for stream '{STREAM}' has timestamp too new: 2026-11-28 10:49:58.2 +0000 UTC", "too_far_ahead"),
        (f"Max entry size '262144' bytes exceeded for stream '{STREAM}' while adding an entry", "line_too_long"),
        (f"max entry size '262144' bytes exceeded for stream '{STREAM}' while adding an entry", "line_too_long"),
        (f"entry with timestamp T ignored, reason: 'entry out of order' for stream: {STREAM},\n", "too_far_behind"),
        (f"entry with timestamp T ignored, reason: 'entry too far behind' for stream: {STREAM},\n", "too_far_behind"),
        (f"stream '{STREAM}' has structured metadata too large: '70000' bytes", "structured_metadata_too_large"),
        (f"stream '{STREAM}' has too many structured metadata labels: '129'", "structured_metadata_too_large"),
        (f"entry for stream '{STREAM}' has 16 label names; limit 15", "invalid_labels"),
        (f"stream '{STREAM}' has label value too long: 'aaaa'", "invalid_labels"),
        ("Error parsing labels '{a=\"b\"' with error: 1:7: parse error", "invalid_labels"),
        ("1:12: parse error: unterminated quoted string", "invalid_labels"),
        ("error at least one label pair is required per stream", "invalid_labels"),
        ("snappy: corrupt input", "refused"),
    ],
)
def test_a_refusal_is_named_by_lokis_words(text, reason):
    found = said(text)
    assert (found.meaning, found.reason) == (Meaning.REFUSED, reason)


@pytest.mark.parametrize(
    "value", ["timestamp too old", "label", 'a\\"label', "allow_structured_metadata", "feature is disallowed"]
)
def test_what_a_sender_calls_itself_is_none_of_lokis_words(value):
    found = said(f"entry with timestamp T ignored, reason: 'new in this release' for stream: {{app=\"{value}\"}},")
    assert (found.meaning, found.reason) == (Meaning.REFUSED, "refused")
    found = said(f"stream '{{app=\"{value}\"}}' has label value too long: '{value}'")
    assert (found.meaning, found.reason) == (Meaning.REFUSED, "invalid_labels")


@pytest.mark.parametrize("option", ["allow_structured_metadata", "structured_metadata"])
def test_a_loki_that_takes_no_structured_metadata_is_to_be_repaired(option):
    text = f"stream '{STREAM}' includes structured metadata, but this feature is disallowed. See limits_config.{option}"
    assert said(text).meaning is Meaning.DENIED


@pytest.mark.parametrize("otlp", [False, True])
def test_a_loki_whose_ingestion_is_blocked_has_taken_nothing(otlp):
    found = verdict(Answer(260, {}, b"ingestion blocked for user fake until 2026-12-24"), otlp=otlp)
    assert found.meaning is Meaning.DENIED


def test_a_push_that_lokis_parts_cannot_hand_on_is_too_large():
    text = "rpc error: code = ResourceExhausted desc = grpc: received message larger than max (4300921 vs. 4194304)\n"
    found = said(text, 500)
    assert (found.meaning, found.reason) == (Meaning.TOO_LARGE, "too_large")
    assert said("rpc error: code = Unavailable", 500).meaning is Meaning.FAILING
