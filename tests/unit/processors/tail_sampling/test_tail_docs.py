"""The component's page names every option, policy type, cause and metric."""

from pathlib import Path
from typing import get_args

from collector.telemetry.catalogue import CATALOGUE
from processors.tail_sampling.counters import CAUSES
from processors.tail_sampling.options import DecisionCache, Policy, TailSamplingOptions

PAGE = (Path(__file__).parents[4] / "docs" / "components" / "tail_sampling.md").read_text()


def fields(model):
    return [field.alias or name for name, field in model.model_fields.items()]


def test_every_option_is_on_the_page():
    missing = [name for name in fields(TailSamplingOptions) if f"`{name}`" not in PAGE and name != "decision_cache"]
    missing += [name for name in fields(DecisionCache) if f"`decision_cache.{name}`" not in PAGE]
    for policy in get_args(get_args(Policy)[0]):
        (kind,) = get_args(policy.model_fields["type"].annotation)
        missing += [] if f"`{kind}`" in PAGE else [kind]
        for name, field in policy.model_fields.items():
            if name not in ("name", "type") and hasattr(field.annotation, "model_fields"):
                missing += [option for option in fields(field.annotation) if option not in PAGE]
    assert missing == []


def test_every_cause_and_metric_is_on_the_page():
    names = [name.removeprefix("butterfly_sampling_") for name in CATALOGUE if name.startswith("butterfly_sampling_")]
    assert [name for name in [*names, *filter(None, CAUSES)] if name not in PAGE] == []
