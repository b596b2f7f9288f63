import pytest
from pydantic import ValidationError

from processors.tail_sampling import TailSampling

ALWAYS = {"name": "always", "type": "always_sample"}


def config(*policies, **options):
    return TailSampling.Config.model_validate({"policies": list(policies)} | options)


def leaf(kind, name="p", **options):
    return {"name": name, "type": kind, kind: options}


def composite(**changes):
    options = {
        "max_total_spans_per_second": 100,
        "policy_order": ["a", "b"],
        "composite_sub_policy": [ALWAYS | {"name": "a"}, ALWAYS | {"name": "b"}],
        "rate_allocation": [{"policy": "a", "percent": 50}],
    }
    return {"name": "c", "type": "composite", "composite": options | changes}


@pytest.mark.parametrize(
    ("policies", "path", "words"),
    [
        ([ALWAYS, ALWAYS], ("policies", 1, "name"), "taken by an earlier"),
        ([leaf("numeric_attribute", key="k")], ("policies", 0, "numeric_attribute"), "at least one"),
        (
            [leaf("numeric_attribute", key="k", min_value=2, max_value=1)],
            ("policies", 0, "numeric_attribute", "max_value"),
            "less than min_value",
        ),
        ([leaf("span_count", min_spans=3, max_spans=2)], ("policies", 0, "span_count", "max_spans"), "min_spans"),
        (
            [leaf("latency", threshold_ms=5, upper_threshold_ms=5)],
            ("policies", 0, "latency", "upper_threshold_ms"),
            "greater than threshold_ms",
        ),
        (
            [leaf("string_attribute", key="k", values=["ok", "(a"], enabled_regex_matching=True)],
            ("policies", 0, "string_attribute", "values", 1),
            "not an RE2 pattern",
        ),
        (
            [leaf("string_attribute", key="k", values=["(?=a)"], enabled_regex_matching=True)],
            ("policies", 0, "string_attribute", "values", 0),
            "not an RE2 pattern",
        ),
        (
            [ALWAYS, {"name": "o", "type": "ottl_condition", "ottl_condition": {"span": ["true"]}}],
            ("policies", 1, "type"),
            "ottl_condition is not supported",
        ),
        (
            [leaf("and", and_sub_policy=[ALWAYS, {"name": "o", "type": "ottl_condition"}])],
            ("policies", 0, "and", "and_sub_policy", 1, "type"),
            "not supported",
        ),
        (
            [leaf("not", not_sub_policy=leaf("numeric_attribute", key="k"))],
            ("policies", 0, "not", "not_sub_policy", "numeric_attribute"),
            "at least one",
        ),
        (
            [leaf("drop", drop_sub_policy=[ALWAYS, ALWAYS])],
            ("policies", 0, "drop", "drop_sub_policy", 1, "name"),
            "taken",
        ),
        ([composite(policy_order=["a", "x"])], ("policies", 0, "composite", "policy_order", 1), "'x' is no sub-policy"),
        ([composite(policy_order=["a", "a"])], ("policies", 0, "composite", "policy_order", 1), "named twice"),
        (
            [composite(rate_allocation=[{"policy": "x", "percent": 1}])],
            ("policies", 0, "composite", "rate_allocation", 0, "policy"),
            "'x' is no sub-policy",
        ),
        (
            [composite(rate_allocation=[{"policy": "a", "percent": 60}, {"policy": "b", "percent": 41}])],
            ("policies", 0, "composite", "rate_allocation"),
            "101%",
        ),
    ],
)
def test_problems_are_found_where_they_are(policies, path, words):
    found = dict(TailSampling.problems(config(*policies)))
    assert list(found) == [path]
    assert words in found[path]


def test_more_conditions_than_a_scan_can_look_for():
    many = [leaf("string_attribute", f"p{n}", key=f"k{n}", values=["v"]) for n in range(65)]
    ((path, sentence),) = TailSampling.problems(config(*many))
    assert path == ("policies",)
    assert "64" in sentence
    assert TailSampling.problems(config(*many[:64])) == []


@pytest.mark.parametrize(
    ("given", "path"),
    [
        (config(ALWAYS, {"name": "x", "type": "trace_flags"}, sample_on_first_match=True), ("policies", 1, "name")),
        (config(leaf("probabilistic", sampling_percentage=100), ALWAYS, sample_on_first_match=True),
         ("policies", 1, "name")),
        (config(leaf("probabilistic", sampling_percentage=0)),
         ("policies", 0, "probabilistic", "sampling_percentage")),
        (config(leaf("probabilistic", sampling_percentage=5, hash_salt="s")),
         ("policies", 0, "probabilistic", "hash_salt")),
        (config(leaf("span_count", min_spans=1)), ("policies", 0, "span_count")),
        (config(composite(policy_order=["b"])), ("policies", 0, "composite", "composite_sub_policy", 0, "name")),
        (config(ALWAYS, decision_wait="1s", decision_wait_after_root_received="1s"),
         ("decision_wait_after_root_received",)),
    ],
)  # fmt: skip
def test_warnings(given, path):
    assert [where for where, _ in TailSampling.warnings(given)] == [path]
    assert TailSampling.problems(given) == []


def test_what_is_meant_draws_no_warning():
    given = config(
        leaf("status_code", "errors", status_codes=["ERROR"]), leaf("latency", "slow", threshold_ms=5000),
        {"name": "byzantine", "type": "byzantine"}, leaf("probabilistic", "rest", sampling_percentage=10),
        composite(), expected_new_traces_per_sec=10, num_traces=100, decision_wait="10s",
        decision_cache={"sampled_cache_size": 1000},
    )  # fmt: skip
    assert TailSampling.problems(given) == []
    assert TailSampling.warnings(given) == []


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ({"name": "x", "type": "latancy"}, "latancy"),
        ({"name": "x", "type": "latency"}, "latency"),
        (leaf("status_code", status_codes=["FAILED"]), "ERROR"),
        (leaf("probabilistic", sampling_percentage=101), "100"),
        (ALWAYS | {"unknown": 1}, "unknown"),
        (leaf("drop", drop_sub_policy=[composite()]), "composite"),
    ],
)
def test_what_types_refuse(policy, words):
    with pytest.raises(ValidationError, match=words):
        config(policy)


@pytest.mark.parametrize(
    "options", [{"decision_wait": 0}, {"decision_wait": "2h"}, {"num_traces": 0}, {"policies": []}]
)
def test_bounds_of_options(options):
    with pytest.raises(ValidationError):
        TailSampling.Config.model_validate({"policies": [ALWAYS]} | options)
