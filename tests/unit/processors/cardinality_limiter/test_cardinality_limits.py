"""Which series pass, which don't, for how long, and that hostile senders change nothing about it."""

import pytest
from cardinality_requests import OVERFLOW, Sent, limiter, numbers, through

SECOND = 10**9


def many(name, users, **options):
    sent = Sent()
    for user in users:
        sent.point(name, {"user": user, "zone": "x"}, **options)
    return sent


def users(found, name):
    return [labels.get("user") for labels, _ in found.get(name, [])]


def test_a_request_within_the_limits_is_the_same_object():
    ours = limiter(max_series=3)
    assert ours.limit_request(many("a", "xyz").payload) is None
    assert (ours.active, ours.removed, ours.metrics) == (3, 0, 1)


def test_the_total_is_over_all_metrics():
    ours = limiter(max_series=3, action="drop")
    found = through(ours, many("a", "xy"))
    assert users(found, "a") == ["x", "y"]
    assert users(through(ours, many("b", "xyz")), "b") == ["x"]
    assert ours.take_counts() == {("max_series", "drop"): 2}
    assert ours.take_counts() == {}


def test_each_metric_has_its_own_limit_over_all_resources():
    ours = limiter(max_series_per_metric=2, action="drop", overrides=[{"metrics": ["big.*"], "max_series": 3}])
    assert users(through(ours, many("a", "xyz")), "a") == ["x", "y"]
    assert through(ours, Sent("2").point("a", {"user": "x", "zone": "x"})) == {}
    assert users(through(ours, many("big.one", "wxyz")), "big.one") == ["w", "x", "y"]
    assert users(through(ours, many("notbig.one", "wxyz")), "notbig.one") == ["w", "x"]


def test_tenants_have_metrics_of_their_own():
    ours = limiter(max_series_per_metric=1, action="drop")
    for tenant in (b"one", b"two"):
        assert users(through(ours, many("a", "xy"), tenant), "a") == ["x"]
    assert (ours.active, ours.metrics) == (2, 2)


def test_a_newcomer_never_puts_an_admitted_series_out():
    ours = limiter(max_series_per_metric=2, action="drop")
    through(ours, many("a", "xy"))
    for second in range(60):
        ours.pass_time(SECOND)
        assert users(through(ours, many("a", "zxwy", time=second + 3)), "a") == ["x", "y"]


def test_what_is_silent_for_the_window_makes_room():
    ours = limiter(max_series_per_metric=2, action="drop")
    through(ours, many("a", "xy"))
    for _ in range(16):
        ours.pass_time(SECOND)
        assert users(through(ours, many("a", "xz")), "a") == ["x"]
    ours.pass_time(SECOND)
    assert users(through(ours, many("a", "xzy")), "a") == ["x", "z"]
    for _ in range(17):
        ours.pass_time(SECOND)
    assert (ours.active, ours.metrics) == (0, 0)


def test_no_more_than_a_16th_of_the_window_passes_at_once():
    ours = limiter()
    through(ours, many("a", "x"))
    for _ in range(16):
        ours.pass_time(3600 * SECOND)
    assert ours.active == 1
    ours.pass_time(-5)
    ours.pass_time(3600 * SECOND)
    assert ours.active == 0


def test_the_order_of_labels_and_their_encoding_are_nothing():
    ours = limiter()
    plain = many("a", "x").payload
    ours.limit_request(plain)
    there = Sent().point("a", {"zone": "x", "user": "x"})
    assert ours.limit_request(there.payload) is None
    # value before key, a longer length, an unknown field, the value in two parts
    attribute = b"\x3a\x09\x0a\x04user\x12\x01"
    plain_field = b"\x3a\x0b\x0a\x04user\x12\x03\x0a\x01x"
    assert plain_field in plain
    odd = [
        b"\x12\x03\x0a\x01x\x0a\x04user",
        b"\x0a\x84\x00user\x12\x03\x0a\x01x",
        b"\x0a\x04user\xb8\x3f\x05\x12\x03\x0a\x01x",
        b"\x0a\x04none\x0a\x04user\x12\x00\x12\x03\x0a\x01x",
    ]
    for body in odd:
        made = Sent().point("a", {"zone": "x"})
        (point,) = made.scope.metrics[0].sum.data_points
        raw = point.SerializeToString() + b"\x3a" + bytes([len(body)]) + body
        point.Clear()
        point.MergeFromString(raw)
        metric = made.request.SerializeToString()
        assert ours.limit_request(metric) is None
    assert attribute
    assert ours.active == 1


@pytest.mark.parametrize("size", [126, 127, 128, 129, 16383, 16384, 70000])
def test_long_values_are_series_of_their_own(size):
    ours = limiter()
    for value in ("v" * size, "v" * size, "v" * (size - 1) + "w"):
        ours.limit_request(Sent().point("a", {"k": value}).payload)
    assert ours.active == 2


def test_what_makes_a_series():
    ours = limiter()
    for number, sent in enumerate(
        [
            Sent().point("a", {"k": "v"}),
            Sent("2").point("a", {"k": "v"}),
            Sent().point("b", {"k": "v"}),
            Sent().point("a", {"k": "v"}, kind="gauge"),
            Sent().point("a", {"k": "v"}, temporality=1),
            Sent().point("a", {"k": "v"}, monotonic=False),
            Sent().point("a", {}),
        ],
        start=1,
    ):
        ours.limit_request(sent.payload)
        assert ours.active == number
    for field, value in (("name", "s"), ("version", "1")):
        sent = Sent().point("a", {"k": "v"})
        setattr(sent.scope.scope, field, value)
        ours.limit_request(sent.payload)
    assert ours.active == 9


def test_a_labels_values_are_limited_and_the_label_goes():
    ours = limiter(max_values_per_label=2)
    found = through(ours, many("a", "xyzw"))
    assert numbers(found, "a") == [
        ({"user": "x", "zone": "x"}, 1),
        ({"user": "y", "zone": "x"}, 1),
        ({"zone": "x"}, 2),
    ]
    assert ours.take_counts() == {("max_values_per_label", "drop_label"): 2}
    # a known value in a new series passes; a new one doesn't, whatever else is new
    found = through(ours, Sent().point("a", {"user": "y", "zone": "z"}).point("a", {"user": "v", "zone": "q"}))
    assert [labels for labels, _ in found["a"]] == [{"user": "y", "zone": "z"}, {}]


def test_labels_have_rules_of_their_own_and_the_strictest_decides():
    ours = limiter(
        max_values_per_label=1,
        label_action="drop",
        labels=[{"keys": ["user*"], "max_values": 2, "action": "overflow"}, {"keys": ["free"], "max_values": 0}],
        overrides=[{"metrics": ["b"], "labels": [{"keys": ["zone"], "max_values": 3}]}],
    )
    sent = Sent()
    for user, zone, free in ("x1a", "x1b", "y1c", "z1d", "x2e", "z2f"):
        sent.point("a", {"user": user, "zone": zone, "free": free})
    assert [labels for labels, _ in through(ours, sent)["a"]] == [
        {"user": "x", "zone": "1", "free": "a"},
        {"user": "x", "zone": "1", "free": "b"},
        {"user": "y", "zone": "1", "free": "c"},
        OVERFLOW,
    ]
    assert ours.take_counts() == {("max_values_per_label", "overflow"): 1, ("max_values_per_label", "drop"): 2}
    sent = Sent()
    for zone in "1234":
        sent.point("b", {"zone": zone})
    assert [labels for labels, _ in through(ours, sent)["b"]] == [{"zone": "1"}, {"zone": "2"}, {"zone": "3"}, {}]


def test_values_that_are_silent_make_room_for_others():
    ours = limiter(max_values_per_label=1, label_action="drop")
    through(ours, Sent().point("a", {"k": "1"}))
    for _ in range(17):
        ours.pass_time(SECOND)
        through(ours, Sent().point("b", {"k": "1"}))
    assert numbers(through(ours, Sent().point("a", {"k": "2"})), "a") == [({"k": "2"}, 1)]
    assert through(ours, Sent().point("a", {"k": "1"})) == {}


def test_the_label_with_the_most_values_goes_where_none_is_named():
    ours = limiter(max_series_per_metric=6, action="drop_label")
    sent = Sent()
    for user in "abcdef":
        sent.point("a", {"user": user, "zone": "xy"[ord(user) % 2]})
    through(ours, sent)
    found = through(ours, many("a", "gh").point("a", {"zone": "x"}))
    assert [labels for labels, _ in found["a"]] == [{"zone": "x"}]
    assert numbers(found, "a") == [({"zone": "x"}, 3)]


def test_named_labels_go_and_the_limit_holds_for_what_is_left():
    override = {"metrics": ["a"], "action": "drop_label", "drop_labels": ["user"]}
    ours = limiter(max_series_per_metric=2, overrides=[override])
    sent = Sent()
    for at, user in enumerate("abcdef"):
        sent.point("a", {"user": user, "zone": str(at)})
    found = through(ours, sent)
    assert [labels for labels, _ in found["a"]] == [
        {"user": "a", "zone": "0"},
        {"user": "b", "zone": "1"},
        {"zone": "2"},
        {"zone": "3"},
        OVERFLOW,
    ]
    assert numbers(found, "a")[-1] == (OVERFLOW, 2)
    # nothing to remove
    assert numbers(through(ours, Sent().point("a", {"other": "1"}, time=9)), "a") == [(OVERFLOW, 3)]


def test_a_series_that_has_the_labels_of_an_aggregate_becomes_part_of_it():
    override = {"metrics": ["a"], "action": "drop_label", "drop_labels": ["user"]}
    ours = limiter(max_series_per_metric=1, overrides=[override])
    through(ours, many("a", "vw"))
    found = through(ours, Sent().point("a", {"zone": "x"}, as_int=40, time=3))
    assert numbers(found, "a") == [({"zone": "x"}, 41)]
    assert ours.active == 1


def test_an_aggregate_never_takes_the_place_of_a_series_that_passes():
    override = {"metrics": ["a"], "action": "drop_label", "drop_labels": ["user"]}
    ours = limiter(max_series_per_metric=1, overrides=[override])
    through(ours, Sent().point("a", {"zone": "x"}, as_int=40))
    found = through(ours, many("a", "v").point("a", {"zone": "x"}, as_int=41, time=3))
    assert numbers(found, "a") == [({"zone": "x"}, 41), (OVERFLOW, 1)]


def test_overflow_that_an_sdk_made_is_folded_in():
    ours = limiter(max_series_per_metric=1)
    sent = many("a", "xy").point("a", OVERFLOW, as_int=5).point("a", OVERFLOW | {"scope": "q"}, as_int=6)
    assert numbers(through(ours, sent), "a")[1:] == [(OVERFLOW, 12)]
    assert ours.take_counts() == {("max_series_per_metric", "overflow"): 1, ("sender", "overflow"): 2}
    sent = Sent().point("a", OVERFLOW, as_int=8, time=3)
    assert numbers(through(ours, sent), "a") == [(OVERFLOW, 15)]


def test_each_resource_and_metric_has_its_own_overflow():
    ours = limiter(max_series=1)
    through(ours, many("a", "x"))
    for node in "12":
        found = through(ours, many("b", "xy").point("c", {"k": "v"}) if node == "1" else Sent("2").point("b", {}))
        assert {name: numbers(found, name) for name in found} == (
            {"b": [(OVERFLOW, 2)], "c": [(OVERFLOW, 1)]} if node == "1" else {"b": [(OVERFLOW, 1)]}
        )


def test_a_cumulative_series_passes_again_from_its_restart_on():
    ours = limiter(max_series_per_metric=1)
    through(ours, many("a", "xy"))
    for time in range(3, 21):
        ours.pass_time(SECOND)
        found = through(ours, many("a", "y", time=time, as_int=time))
        assert numbers(found, "a") == [(OVERFLOW, time)]
    assert ours.active == 0
    found = through(ours, many("a", "y", start=21, time=22, as_int=5))
    assert numbers(found, "a") == [({"user": "y", "zone": "x"}, 5)]
    assert (ours.active, ours.folded, ours.aggregated) == (1, 0, 1)


@pytest.mark.parametrize("options", [{"temporality": 1}, {"kind": "gauge"}, {"monotonic": False}])
def test_others_pass_again_as_soon_as_there_is_room(options):
    ours = limiter(max_series_per_metric=1)
    through(ours, many("a", "xy", **options))
    for time in range(3, 21):
        ours.pass_time(SECOND)
        found = through(ours, many("a", "y", time=time, **options))
    assert users(found, "a") == ["y"]


def test_names_of_metrics_are_limited():
    ours = limiter(max_metrics=2)
    sent = Sent().point("a", {}).point("b", {}).point("c", {})
    assert list(through(ours, sent)) == ["a", "b"]
    assert ours.take_counts() == {("max_metrics", "drop"): 1}
    for _ in range(18):
        ours.pass_time(SECOND)
    assert list(through(ours, Sent().point("c", {}).point("d", {}).point("e", {}))) == ["c", "d"]


def test_a_million_names_take_no_memory():
    ours = limiter(max_metrics=100, max_series=1000)
    before = None
    for start in range(0, 20_000, 1000):
        sent = Sent()
        for number in range(start, start + 1000):
            sent.scope.metrics.add(name=f"m{number}" * 3).gauge.data_points.add(as_int=1)
        ours.limit_request(sent.payload)
        before = before or ours.memory
    assert (ours.metrics, ours.active, ours.memory) == (100, 100, before)
    assert len(ours.metric_rows()) == 100


def test_aggregates_are_limited():
    ours = limiter(max_series=1, max_aggregated_series=2)
    through(ours, Sent().point("first", {}))
    sent = Sent().point("a", {}).point("b", {}).point("c", {})
    assert list(through(ours, sent)) == ["a", "b"]
    assert ours.take_counts()[("max_aggregated_series", "drop")] == 1


def test_what_is_remembered_is_limited_in_bytes():
    ours = limiter(max_series=1, max_state_size=4000)
    for number in range(200):
        through(ours, many("a", [str(number)], time=number + 2))
    assert ours.state_bytes < 4200
    assert 70 < ours.folded < 80, "32 bytes each, and some 1500 for what they are folded into"
    counts = ours.take_counts()
    assert counts[("max_state_size", "drop")] + counts[("max_series", "overflow")] == 199
    for _ in range(66):
        ours.pass_time(SECOND)
    ours.pass_time(0)
    assert (ours.folded, ours.aggregated, ours.state_bytes) == (0, 0, 0)


def test_long_names_and_many_labels_are_bounded():
    ours = limiter(max_series_per_metric=1, max_values_per_label=1)
    huge = "n" * 5000
    sent = Sent().point(huge, {}).point(huge + "b", {})
    ours.limit_request(sent.payload)
    assert [len(row[0]) for row in ours.metric_rows()] == [1024, 1024]
    labels = {f"k{number}": "v" for number in range(300)}
    ours.limit_request(Sent().point("a", labels).payload)
    found = through(ours, Sent().point("a", dict.fromkeys(labels, "w")))
    assert [labels for labels, _ in found["a"]] == [OVERFLOW]


def test_attributes_of_an_aggregate_are_bounded():
    override = {"metrics": ["a"], "action": "drop_label", "drop_labels": ["user"]}
    ours = limiter(max_series_per_metric=1, overrides=[override])
    through(ours, many("a", "x"))
    for size, wanted in ((8000, {"text": "t" * 8000}), (9000, OVERFLOW)):
        found = through(ours, Sent().point("a", {"user": "y", "text": "t" * size}))
        assert [labels for labels, _ in found["a"]] == [wanted]


def test_keys_are_secret():
    one, two, same = limiter(key=b"0" * 16), limiter(key=b"1" * 16), limiter(key=b"0" * 16)
    for each in (one, two, same):
        through(each, many("a", "x"))
    assert b"".join(one.state_pieces()) == b"".join(same.state_pieces()) != b"".join(two.state_pieces())
    assert b"".join(limiter().state_pieces())[4:20] != b"".join(limiter().state_pieces())[4:20]
    with pytest.raises(ValueError, match="16 bytes"):
        limiter(key=b"short")


def test_a_metric_that_lost_all_of_its_points_is_gone_and_its_neighbours_are_not():
    ours = limiter(max_series=2, action="drop")
    first = Sent().point("a", {}).point("c", {})
    through(ours, first)
    sent = Sent().point("a", {}).point("b", {"k": "v"}).point("c", {}).point("c", {"k": "v"})
    sent.scope.metrics.add(name="empty").gauge.SetInParent()
    sent.scope.metrics.add(name="nothing")
    found = ours.limit_request(sent.payload)
    del sent.scope.metrics[1]
    del sent.scope.metrics[1].sum.data_points[1]
    assert found == sent.payload
