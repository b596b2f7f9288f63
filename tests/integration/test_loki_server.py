"""What the real Loki of the tests (2.2.1) takes through its push API, what it refuses and how, what it gives back."""

import time
import urllib.error
import urllib.request

import cramjam
import pytest
from test_victoria_logs_server import stream

from tests.conftest import needed
from tests.servers.loki_server import Loki

DAY = 86400 * 10**9


def push(server, payload, tenant=""):
    return server.push(bytes(cramjam.snappy.compress_raw(payload)), tenant)


def lines(server, query, **span):
    return [line for _, _, line in server.entries(query, **span)]


@pytest.fixture(scope="module")
def strict(tmp_path_factory):
    """A Loki with the limits of the exporter's defaults, and lower ones."""
    limits = {
        "reject_old_samples": True,
        "reject_old_samples_max_age": "168h",
        "max_line_size": "256KB",
        "max_label_names_per_series": 3,
        "max_label_name_length": 50,
        "max_label_value_length": 100,
        "max_streams_per_user": 4,
        "ingestion_rate_mb": 1,
        "ingestion_burst_size_mb": 6,
    }
    with needed(lambda: Loki(tmp_path_factory.mktemp("strict"), limits=limits)) as server:
        yield server


def test_lines_labels_and_times_come_back_and_metadata_is_left_out(loki):
    now = time.time_ns()
    line = '{"level":"error","message":"layer 3 \\"failed\\" ü","trace_id":"0af7651916cd43dd8448eb211c80319c"}'
    odd = "\x01\u00a0\u2028 \U0001f98b\\ \n\t\x00"
    payload = stream(
        '{app="a", node="n-\\"1\\"\\n\\\\"}', (now, line, {"request_id": "r-1"}), (now + 1, odd, {}), (now + 2, "", {})
    )
    assert push(loki, payload + stream('{by="\\u00e9e", app="b"}', (now, "other", {}))) == (204, "")
    labels = (("app", "a"), ("node", 'n-"1"\n\\'))
    assert loki.entries('{app="a"}') == [(labels, now, line), (labels, now + 1, odd), (labels, now + 2, "")]
    assert loki.streams('{app=~"a|b"}') == [labels, (("app", "b"), ("by", "ée"))]
    assert {"a", "b"} <= set(loki.label_values("app"))
    assert lines(loki, '{app="a"} | json | trace_id="0af7651916cd43dd8448eb211c80319c"') == [line]
    assert lines(loki, '{app="a"} | request_id="r-1"') == []


def test_a_stream_is_taken_in_order_of_time_alone(loki):
    now = time.time_ns()
    assert push(loki, stream('{app="order"}', (now, "first", {}), (now + 2, "third", {}))) == (204, "")
    status, text = push(loki, stream('{app="order"}', *((now + n, f"n{n}", {}) for n in (1, 2, 3))))
    assert status == 400
    assert "ignored, reason: 'entry out of order' for stream: {app=\"order\"},\ntotal ignored: 1 out of 3" in text
    assert lines(loki, '{app="order"}') == ["first", "third", "n2", "n3"], "the same time is no earlier one"


def test_of_what_is_pushed_again_the_newest_entry_alone_is_recognised(loki):
    now = time.time_ns()
    alone, some = stream('{app="alone"}', (now, "a", {})), stream('{app="some"}', *((now + n, "s", {}) for n in (0, 1)))
    together = stream('{app="together"}', (now, "a", {}), (now, "b", {}))
    assert [push(loki, each)[0] for each in (alone, some, together)] == [204, 204, 204]
    assert [push(loki, each)[0] for each in (alone, some, together)] == [204, 400, 204]
    assert lines(loki, '{app="alone"}') == ["a"]
    assert lines(loki, '{app="some"}') == ["s", "s"]
    assert sorted(lines(loki, '{app="together"}')) == ["a", "a", "b", "b"]


def test_entries_of_any_age_are_taken_unless_limits_say_otherwise(loki):
    old = 1_500_000_000
    assert push(loki, stream('{app="old"}', (old * 10**9, "old", {}))) == (204, "")
    assert lines(loki, '{app="old"}', start=old - 10, end=old + 10) == ["old"]
    assert lines(loki, '{app="old"}') == []


@pytest.mark.parametrize(
    ("labels", "when", "line", "words"),
    [
        ('{app="a"}', -8 * DAY, "x", "entry for stream '{app=\"a\"}' has timestamp too old: "),
        ('{app="a"}', DAY, "x", "entry for stream '{app=\"a\"}' has timestamp too new: "),
        ('{app="a"}', 0, "x" * 262145, "Max entry size '262144' bytes exceeded for stream '{app=\"a\"}' while adding"),
        ('{a="b",b="b",c="c",d="d"}', 0, "x", 'd="d"}\' has 4 label names; limit 3'),
        (f'{{{"a" * 51}="b"}}', 0, "x", "has label name too long: 'aaa"),
        (f'{{a="{"b" * 101}"}}', 0, "x", "has label value too long: 'bbb"),
        ('{a="b",a="c"}', 0, "x", "has duplicate label name: 'a'"),
        ('{a="b"', 0, "x", "Error parsing labels '{a=\"b\"' with error: 1:7: parse error: "),
    ],
)
def test_what_is_over_a_limit_is_refused_in_words_and_the_rest_taken(strict, labels, when, line, words):
    now = time.time_ns()
    beside = stream('{app="beside"}', (now, str(now), {}))
    status, text = push(strict, stream(labels, (now + when, line, {})) + beside)
    assert (status, words in text) == (400, True), text
    assert lines(strict, '{app="beside"}')[-1] == str(now)


def test_a_label_whose_value_ends_with_what_go_escapes_is_not_understood(loki):
    now = time.time_ns()
    for labels, value in (('{app="c",x="a\u00a0"}', "a\u00a0"), ('{app="c",x="a\\x1b"}', "a\x1b")):
        status, text = push(loki, stream(labels, (now, "x", {})))
        assert (status, "parse error: unterminated quoted string" in text) == (400, True), text
        longer = labels.replace('"}', '."}')
        assert push(loki, stream(longer, (now, "x", {}))) == (204, "")
        assert (("app", "c"), ("x", f"{value}.")) in loki.streams('{app="c"}')


def test_a_rate_and_a_number_of_streams_are_limited_with_429(strict):
    now = time.time_ns()
    one, more = stream('{app="rate"}', (now, "x", {})), [stream(f'{{app="s{n}"}}', (now, "x", {})) for n in range(5)]
    assert push(strict, one) == (204, "")
    status, text = push(strict, stream('{app="rate"}', *((now + n, "x" * 200_000, {}) for n in range(1, 33))))
    assert status == 429
    assert "Ingestion rate limit exceeded (limit: 1048576 bytes/sec)" in text
    answers = [push(strict, each) for each in more]
    assert answers[0][0] == 204
    assert answers[-1][0] == 429
    assert "Maximum active stream limit exceeded" in answers[-1][1]
    assert push(strict, one) == (204, ""), "streams that are there are taken on"


def test_a_push_over_4_mib_is_answered_500(loki):
    now = time.time_ns()
    entries = [(now + n, "x" * 99_000, {}) for n in range(43)]
    status, text = push(loki, stream('{app="big"}', *entries))
    assert status == 500
    assert "received message larger than max" in text
    assert push(loki, stream('{app="big"}', *entries[:42])) == (204, "")


def test_what_is_no_push_request_is_refused_and_otlp_unknown(loki):
    assert loki.push(b"nonsense") == (400, "snappy: corrupt input\n")
    with pytest.raises(urllib.error.HTTPError) as unknown:
        urllib.request.urlopen(urllib.request.Request(f"{loki.url}/otlp/v1/logs", b""), timeout=10)
    with unknown.value:
        assert unknown.value.code == 404


def test_what_it_answered_204_for_is_there_after_a_kill_and_a_stop(loki):
    now = time.time_ns()
    for n, end in enumerate((loki.kill, loki.stop)):
        assert push(loki, stream('{app="lasting"}', (now + n, f"kept {n}", {}))) == (204, "")
        before = loki.push_url
        end()
        with pytest.raises(OSError):
            push(loki, b"")
        loki.start()
        assert loki.push_url == before
    assert lines(loki, '{app="lasting"}') == ["kept 0", "kept 1"]
    assert push(loki, stream('{app="lasting"}', (now, "older", {})))[0] == 400, "the order is remembered too"


def test_tenants_are_apart(tmp_path):
    now = time.time_ns()
    with needed(lambda: Loki(tmp_path, tenants=True)) as server:
        for tenant in ("a", "b"):
            assert push(server, stream('{app="t"}', (now, f"of {tenant}", {})), tenant) == (204, "")
        assert push(server, stream('{app="t"}', (now, "of nobody", {}))) == (401, "no org id\n")
        assert [line for _, _, line in server.entries('{app="t"}', tenant="b")] == ["of b"]
