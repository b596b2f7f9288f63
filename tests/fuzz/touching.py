"""What else is given the bytes of metrics and logs: views, selections, edits, partitions. As consumers.py for spans."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from collector.wire.log_view import log_views
from collector.wire.malformed import Malformed
from collector.wire.partition import partition_logs, partition_metrics
from collector.wire.point_view import point_views
from collector.wire.rewrite import replace_logs, replace_points, select
from tests.fuzz import signals

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

VIEWS: dict[str, Callable[..., list[Any]]] = {"metrics": point_views, "logs": log_views}
REPLACE: dict[str, Callable[..., bytes]] = {"metrics": replace_points, "logs": replace_logs}
SPLIT = {"metrics": partition_metrics, "logs": partition_logs}
VALUES = (None, 2**70, 5, "\u20ac" * 50, b"\xff", [1, [2]], {"a": {"b": 1.5}})


def read(view: Any) -> None:
    """Every field there is."""
    for name in dir(view):
        if not name.startswith("_") and name != "to_bytes":
            getattr(view, name)
    for attributes in (view.attributes, view.resource):
        _ = [attributes[key] for key in attributes]


def touch(rnd: Random, signal: str, payload: bytes, index: Any) -> bytes:
    """Read some views, change some, and put them back."""
    edits = {}
    seen = VIEWS[signal](payload, index)
    for view in rnd.sample(seen, min(len(seen), 3)):
        read(view)
        if signal == "logs":
            view.severity_number = rnd.choice((0, 9, -1))
            view.severity_text = rnd.choice(("", "WARN", "\u20ac" * 50))
            with suppress(TypeError, ValueError):
                view.body = rnd.choice(VALUES)
        if rnd.random() < 0.5:
            with suppress(TypeError, ValueError):
                view.attributes[rnd.choice(("", "k", "peer"))] = rnd.choice(VALUES)
        for key in list(view.attributes)[:1]:
            del view.attributes[key]
        edits[view.row] = view.to_bytes()
    return REPLACE[signal](payload, index, edits)


def use_good(rnd: Random, signal: str, payload: bytes) -> int:
    """Raises AssertionError where something that protobuf accepts isn't handled; gives how many items there are."""
    index = signals.SCAN[signal](payload)
    signals.check_rewriting(rnd, signal, payload)
    parts = SPLIT[signal](payload, rnd.choice((1, 2, 50)), rnd.choice((1, 300, 1 << 30)))
    found = [len(signals.ITEMS[signal](signals.parse(signal, part))) for _, part, _ in parts]
    assert found == [items for *_, items in parts], "a part says that it holds another number of items"
    assert sum(found) == index.count, "the parts hold other items"
    with suppress(Malformed):  # values may be nested deeper than a view decodes
        touched = signals.parse(signal, touch(rnd, signal, payload, index))
        assert touched is not None, "what views give is not a request"
        assert len(signals.ITEMS[signal](touched)) == index.count, "views give other items"
    return int(index.count)


def use_damaged(rnd: Random, signal: str, payload: bytes) -> None:
    """Bytes that protobuf refuses: what trusts its input must still stay within it."""
    with suppress(Malformed):
        SPLIT[signal](payload, rnd.choice((1, 3, 50)), rnd.choice((1, 300, 1 << 30)))
    for cut in (payload, payload[: rnd.randrange(len(payload) + 1)]):  # the second: an index of other bytes
        with suppress(Malformed, ValueError):
            index = signals.SCAN[signal](payload)
            select(cut, index, np.array([rnd.random() < 0.7 for _ in range(index.count)], np.bool_))
            touch(rnd, signal, cut, index)
