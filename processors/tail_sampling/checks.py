"""What types can't say about a configuration: contradictions, misspelt names, what can never happen."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from processors.tail_sampling.decision import PolicySet
from processors.tail_sampling.policies import pattern

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from processors.tail_sampling import options

Path = tuple[str | int, ...]
Found = tuple[Path, str]

_NO_OTTL = (
    "ottl_condition is not supported; use string_attribute, numeric_attribute, boolean_attribute, "
    "status_code or byzantine, combined with and, not or drop"
)


def problems(config: options.TailSamplingOptions) -> list[Found]:
    """What can't run."""
    found = _repeated_names(config.policies, ("policies",))
    for path, policy in _walk(config.policies, ("policies",)):
        found += _problems_of(policy, path)
    if not found:
        try:
            PolicySet(config)
        except ValueError as error:
            found.append((("policies",), _too_many(config, str(error))))
    return found


def warnings(config: options.TailSamplingOptions) -> list[Found]:
    """What runs and is surely not what was meant."""
    found: list[Found] = []
    if config.decision_wait_after_root_received >= config.decision_wait:
        found.append((("decision_wait_after_root_received",), "has no effect: it is not shorter than decision_wait"))
    if config.sample_on_first_match:
        found += _unreachable(config.policies)
    for path, policy in _walk(config.policies, ("policies",)):
        found += _warnings_of(policy, path)
    return found


def _walk(policies: Sequence[Any], path: Path) -> Iterator[tuple[Path, Any]]:
    for number, policy in enumerate(policies):
        here = (*path, number)
        yield here, policy
        if policy.type == "and":
            yield from _walk(policy.and_.and_sub_policy, (*here, "and", "and_sub_policy"))
        elif policy.type == "drop":
            yield from _walk(policy.drop.drop_sub_policy, (*here, "drop", "drop_sub_policy"))
        elif policy.type == "composite":
            yield from _walk(policy.composite.composite_sub_policy, (*here, "composite", "composite_sub_policy"))
        elif policy.type == "not":
            for inner, part in _walk([policy.not_.not_sub_policy], ()):
                yield (*here, "not", "not_sub_policy", *inner[1:]), part


def _repeated_names(policies: Sequence[Any], path: Path) -> list[Found]:
    seen: set[str] = set()
    found: list[Found] = []
    for number, policy in enumerate(policies):
        if policy.name in seen:
            found.append(((*path, number, "name"), f"the name {policy.name!r} is taken by an earlier policy"))
        seen.add(policy.name)
    return found


def _problems_of(policy: Any, path: Path) -> list[Found]:
    if policy.type == "ottl_condition":
        return [((*path, "type"), _NO_OTTL)]
    if policy.type in ("numeric_attribute", "span_count", "latency"):
        return _bounds(policy, path)
    if policy.type == "string_attribute" and policy.string_attribute.enabled_regex_matching:
        return _patterns(policy.string_attribute.values, (*path, "string_attribute", "values"))
    if policy.type in ("and", "drop"):
        parts = policy.and_.and_sub_policy if policy.type == "and" else policy.drop.drop_sub_policy
        return _repeated_names(parts, (*path, policy.type, f"{policy.type}_sub_policy"))
    return _composite(policy.composite, (*path, "composite")) if policy.type == "composite" else []


def _bounds(policy: Any, path: Path) -> list[Found]:
    if policy.type == "numeric_attribute":
        it = policy.numeric_attribute
        if it.min_value is None and it.max_value is None:
            return [((*path, policy.type), "at least one of min_value and max_value is needed")]
        return _order(it, "min_value", "max_value", (*path, policy.type))
    if policy.type == "span_count" and policy.span_count.max_spans:
        return _order(policy.span_count, "min_spans", "max_spans", (*path, policy.type))
    if policy.type == "latency" and 0 < policy.latency.upper_threshold_ms <= policy.latency.threshold_ms:
        return [((*path, "latency", "upper_threshold_ms"), "must be greater than threshold_ms, or nothing matches")]
    return []


def _order(it: Any, low: str, high: str, path: Path) -> list[Found]:
    lower, upper = getattr(it, low), getattr(it, high)
    if lower is None or upper is None or lower <= upper:
        return []
    return [((*path, high), f"must not be less than {low}, or nothing matches")]


def _patterns(values: Sequence[str], path: Path) -> list[Found]:
    found: list[Found] = []
    for number, value in enumerate(values):
        try:
            pattern([value])
        except ValueError as error:
            found.append(((*path, number), str(error)))
    return found


def _composite(it: options.CompositeOptions, path: Path) -> list[Found]:
    found = _repeated_names(it.composite_sub_policy, (*path, "composite_sub_policy"))
    names = {part.name for part in it.composite_sub_policy}
    for number, name in enumerate(it.policy_order):
        if name not in names:
            found.append(((*path, "policy_order", number), f"{name!r} is no sub-policy of this composite"))
        elif name in it.policy_order[:number]:
            found.append(((*path, "policy_order", number), f"{name!r} is named twice"))
    shares = [share.policy for share in it.rate_allocation]
    for number, name in enumerate(shares):
        if name not in names:
            found.append(((*path, "rate_allocation", number, "policy"), f"{name!r} is no sub-policy of this composite"))
        elif name in shares[:number]:
            found.append(((*path, "rate_allocation", number, "policy"), f"{name!r} has a share already"))
    total = sum(share.percent for share in it.rate_allocation)
    if total > 100:
        found.append(((*path, "rate_allocation"), f"the shares add up to {total}%, which is more than 100%"))
    return found


def _too_many(config: options.TailSamplingOptions, reason: str) -> str:
    """`reason`, with the kinds of policies that need the most conditions, where that is what went wrong."""
    kinds = Counter(policy.type for _, policy in _walk(config.policies, ("policies",)))
    return f"the policies can't be compiled into one scan: {reason} ({', '.join(f'{n} {k}' for k, n in kinds.items())})"


def _unreachable(policies: Sequence[Any]) -> list[Found]:
    for number, policy in enumerate(policies):
        if _always_samples(policy):
            return [
                (
                    ("policies", later, "name"),
                    f"is never asked: {policy.name!r} samples every trace and sample_on_first_match is on",
                )
                for later in range(number + 1, len(policies))
            ]
    return []


def _always_samples(policy: Any) -> bool:
    if policy.type == "probabilistic":
        return bool(policy.probabilistic.sampling_percentage == 100)
    return bool(policy.type == "always_sample")


def _warnings_of(policy: Any, path: Path) -> list[Found]:
    if policy.type == "probabilistic":
        it = policy.probabilistic
        if it.hash_salt and it.compat == "consistent":
            return [((*path, "probabilistic", "hash_salt"), "has no effect without `compat: collector`")]
        if it.sampling_percentage == 0:
            return [((*path, "probabilistic", "sampling_percentage"), "is 0, so the policy never samples")]
    if policy.type == "span_count" and not policy.span_count.max_spans and policy.span_count.min_spans <= 1:
        return [((*path, "span_count"), "has no bound that a trace could miss, so it samples every trace")]
    if policy.type == "composite":
        it = policy.composite
        return [
            (
                (*path, "composite", "composite_sub_policy", number, "name"),
                "is not in policy_order, so it is never asked",
            )
            for number, part in enumerate(it.composite_sub_policy)
            if part.name not in it.policy_order
        ]
    return []
