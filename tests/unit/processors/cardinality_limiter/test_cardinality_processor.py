"""The processor around the limiter: batches, books, counts, time, state, and what it tells a person."""

import json
import logging

import pytest
from cardinality_requests import Sent

from collector.api import Account, Ack, Batch, BuildContext, Context, Meter, Outcome, Signal
from processors.cardinality_limiter import CardinalityLimiter

SECOND = 10**9


def made(meter=None, id_="cardinality_limiter", **config):
    context = BuildContext(id_, logging.getLogger("test"), meter=meter or Meter())
    return CardinalityLimiter(CardinalityLimiter.Config.model_validate(config), context)


def batch(sent, account=None, tenant=""):
    return Batch(sent.payload, Ack.ignore(), signal=Signal.METRICS, account=account, context=Context(tenant))


def pass_through(processor, sent, account=None, tenant=""):
    if account is not None:
        account.accept(sum(len(m.sum.data_points) for m in sent.scope.metrics))
    (out,) = processor.process(batch(sent, account, tenant))
    out.ack.resolve(Outcome.DELIVERED)
    return out


def users(*names):
    sent = Sent()
    for name in names:
        sent.point("a", {"user": name})
    return sent


def value(meter, name, **labels):
    return meter.registry.get_sample_value(name, labels)


def test_what_is_untouched_is_the_same_batch():
    given = batch(users("x", "y"))
    (out,) = made().process(given)
    assert out is given
    out.ack.resolve(Outcome.DELIVERED)


def test_the_books_say_what_was_merged_and_what_dropped():
    meter, account = Meter(), Account("metrics")
    override = {"metrics": ["b"], "action": "drop"}
    processor = made(meter, max_series_per_metric=1, overrides=[override])
    out = pass_through(processor, users("x", "y", "z").point("b", {}).point("b", {"k": "v"}), account)
    assert len(out) == out.index.count == 3
    assert account.filtered == {"cardinality_dropped": 1, "cardinality_merged": 1}
    assert (account.accepted, account.held, account.imbalance()) == (5, 3, 0)
    assert value(
        meter,
        "butterfly_cardinality_refused_points_total",
        processor="cardinality_limiter",
        limit="max_series_per_metric",
        action="overflow",
    ) == 2  # fmt: skip


def test_gauges_are_sums_over_the_partitions_of_this_process():
    meter = Meter()
    one, two, other = made(meter), made(meter), made(meter, "cardinality_limiter/b")
    for processor, names in ((one, "xy"), (two, "z"), (other, "vwx")):
        pass_through(processor, users(*names))
    assert value(meter, "butterfly_cardinality_series", processor="cardinality_limiter") == 3
    assert value(meter, "butterfly_cardinality_series", processor="cardinality_limiter/b") == 3
    assert value(meter, "butterfly_cardinality_metrics", processor="cardinality_limiter") == 2
    del two
    assert value(meter, "butterfly_cardinality_series", processor="cardinality_limiter") == 2


def test_a_batch_that_loses_all_is_empty():
    processor = made(max_series=1, action="drop")
    pass_through(processor, users("x"))
    out = pass_through(processor, users("y"))
    assert len(out) == 0


def test_time_passes_while_metrics_come_and_no_further_than_the_pipeline_has_come():
    processor = made(window="16s", max_series=2, action="drop")
    pass_through(processor, users("x", "y"))
    processor.tick(1000 * SECOND)
    for at in range(1, 1000):  # silence: nothing is forgotten
        processor.tick((1000 + at) * SECOND)
    assert processor.limiter.active == 2
    now = 5000 * SECOND
    for _ in range(17):
        pass_through(processor, users("x"))
        now += SECOND
        processor.tick(now)
    assert processor.limiter.active == 1


def test_it_goes_on_where_it_was():
    processor = made(max_series_per_metric=1)
    pass_through(processor, users("x", "y"))
    blob = b"".join(processor.snapshot())
    again = made(max_series_per_metric=1)
    again.restore(blob)
    assert b"".join(again.snapshot()) == blob
    later = Sent().point("a", {"user": "y"}, as_int=5, time=9)
    assert pass_through(again, later).payload == pass_through(processor, later).payload
    for bad in (b"", b"short", blob[:-1], blob + b"x", b"BTSV" + blob[4:], blob[:9] + b"\xff" + blob[10:]):
        fresh = made(max_series_per_metric=1)
        with pytest.raises(ValueError, match=r"damaged"):
            fresh.restore(bad)
        pass_through(fresh, users("x"))
        assert fresh.limiter.active == 1


def test_lower_limits_let_stay_what_was_admitted():
    processor = made()
    pass_through(processor, users("x", "y", "z"))
    again = made(max_series=1, action="drop")
    again.restore(b"".join(processor.snapshot()))
    assert len(pass_through(again, users("x", "y", "z", "w"))) == 3


def test_the_report_names_offenders_and_never_a_value():
    processor = made(max_series_per_metric=2)
    secret = [f"secret{number}" for number in range(50)]
    pass_through(processor, users(*secret).point("other", {"zone": "secretzone"}))
    report = processor.report()
    text = json.dumps(report)
    assert "secret" not in text
    assert (report["series"], report["folded_series"], report["aggregated_series"]) == (3, 48, 1)
    assert report["offenders"] == [
        {
            "metric": "a",
            "label": "user",
            "distinct_values": pytest.approx(48, abs=2),
            "refused_series": pytest.approx(48, abs=2),
            "refused_points": 48,
            "action": "overflow",
        }
    ]
    assert report["refused"] == [{"metric": "a", "refused_series": pytest.approx(48, abs=2)}]
    assert report["largest"][0] == {"metric": "a", "series": 2, "reduced": 0, "limit": 2, "refused_points": 48}


def test_tenants_are_kept_apart():
    processor = made(max_series_per_metric=1, action="drop")
    for tenant in ("one", "two"):
        assert len(pass_through(processor, users("x", "y"), tenant=tenant)) == 1


def test_what_can_be_said_of_a_configuration():
    def found(check, **config):
        return getattr(CardinalityLimiter, check)(CardinalityLimiter.Config.model_validate(config))

    override = {"metrics": ["a"], "drop_labels": ["k"]}
    assert found("problems") == found("warnings") == []
    assert found("problems", overrides=[override]) == [
        (("overrides", 0, "drop_labels"), "these are what `action: drop_label` removes, and the action is another")
    ]
    assert found("problems", action="drop_label", overrides=[override]) == []
    assert found(
        "warnings", max_series=5, max_series_per_metric=6, overrides=[{"metrics": ["a"], "max_series": 7}]
    ) == [
        (("max_series_per_metric",), "it is never reached: max_series is lower"),
        (("overrides", 0, "max_series"), "it is never reached: max_series is lower"),
    ]
    twice = [{"metrics": ["a", "b"]}, {"metrics": ["c", "b"]}]
    assert found("warnings", overrides=twice) == [
        (("overrides", 1, "metrics", 1), "an override before this one names 'b', and the first decides")
    ]


@pytest.mark.parametrize(
    ("globs", "matching", "others"),
    [
        (["a.b"], ["a.b"], ["axb", "a.bc", "ca.b"]),
        (["a*"], ["a", "ab", "a\nb"], ["ba"]),
        (["*a*b*c"], ["abc", "xaxbxc", "abcbc"], ["acb", "abcd"]),
        (["*"], ["", "anything"], []),
        (["a*", "*z"], ["ax", "xz"], ["xy"]),
        (["*".join("a" * 60)], ["a" * 60], ["a" * 30_000 + "b"]),
    ],
)
def test_names_are_matched_whole_and_in_linear_time(globs, matching, others):
    processor = made(overrides=[{"metrics": globs, "max_series": 7}])
    rules = processor._rules
    assert [rules.metric(name.encode()).limit for name in matching] == [7] * len(matching)
    assert [rules.metric(name.encode()).limit for name in others] == [0] * len(others)
