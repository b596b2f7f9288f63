"""What is wrong with options of `loki` that look right one by one."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from exporters.loki.plan import LEVEL, OVERFLOW, label_name

if TYPE_CHECKING:
    from exporters.loki.options import LokiOptions

Found = list[tuple[tuple[str | int, ...], str]]

_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


def problems(config: LokiOptions) -> Found:
    """What can't work, or would be refused by Loki every time."""
    return [*_transport(config), *_labels(config)]


def warnings(config: LokiOptions) -> Found:
    """What is surely not what was meant."""
    found: Found = []
    if not config.secure and config.headers and not config.target.loopback:
        found.append((("headers",), "headers are sent in plaintext to another machine"))
    if config.secure and config.tls.insecure_skip_verify:
        found.append((("tls", "insecure_skip_verify"), "anybody can pose as the backend"))
    if config.format == "protobuf":
        unbounded = {*config.attributes.request_id, "trace_id", "span_id"}
        found += [
            (("labels", place), "every request would be a stream of its own; it is in the structured metadata anyway")
            for place, name in enumerate(config.labels)
            if name in unbounded
        ]
    elif named := sorted(config.model_fields_set & {"labels", "static_labels", "line", "structured_metadata"}):
        found += [((name,), "with format otlp Loki's own configuration decides this") for name in named]
    return found


def _transport(config: LokiOptions) -> Found:
    found: Found = []
    if config.tls.configured and not config.secure:
        found.append((("tls",), "the endpoint is plaintext, but TLS is configured: use https:// or remove one"))
    if bool(config.tls.cert_file) != bool(config.tls.key_file):
        found.append((("tls",), "cert_file and key_file go together"))
    taken = {"x-scope-orgid"} if config.tenant_id else set()
    if any(name.lower() in taken for name in config.headers):
        found.append((("headers",), "X-Scope-OrgID is what tenant_id sets: remove one"))
    return found


def _labels(config: LokiOptions) -> Found:
    found: Found = []
    limits = config.limits
    for name, value in config.static_labels.items():
        place = ("static_labels", name)
        if not _LABEL.fullmatch(name) or name.startswith("__"):
            found.append((place, "expected letters, digits and _, no digit and no __ at the beginning"))
        if not value:
            found.append((place, "expected a value: Loki has no empty labels"))
        elif len(value.encode()) > limits.max_label_value_length:
            found.append((place, "expected a shorter value: see limits.max_label_value_length"))
    names = [*config.static_labels, *(label_name(each) for each in config.labels)]
    for name, times in Counter(names).items():
        if times > 1:
            found.append((("labels",), f"{times} labels would be named {name}"))
        if name == OVERFLOW:
            found.append((("labels",), f"{OVERFLOW} marks the streams that take what limits.max_streams keeps out"))
        if len(name) > limits.max_label_name_length:
            found.append((("labels",), "the name of a label is longer than limits.max_label_name_length"))
    shared = len(config.static_labels) + (LEVEL in config.labels) + 1
    if max(len(names), shared) > limits.max_label_names_per_series:
        found.append(
            (("labels",), f"expected {limits.max_label_names_per_series} labels at the most, static ones included")
        )
    return found
