"""A cardinality explosion on request: one metric, one label, as many series as asked for.

One template a sender serves them all; the label's value and the number are overwritten in place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bench.generator.identity import hexadecimal, mix
from bench.generator.metric_catalogue import EXPLODING
from bench.generator.metric_points import Point, locate_points, serialise_points

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.generator.clock import Clock, Moment
    from bench.generator.identity import Words

PREFIX = "s-"
_MARK = "X" * 16
_SESSION_STREAM = 0x5851F42D4C957F2D


def sessions(seed: int, numbers: Words) -> Words:
    """The label's values as 64-bit words, all different; `PREFIX` and 16 hex digits are what is sent."""
    return mix(numbers + np.array([(seed * 0x9E3779B97F4A7C15 ^ _SESSION_STREAM) & ((1 << 64) - 1)], np.uint64))


class _Template:
    """The bytes of a request of so many points, whose series are still open."""

    def __init__(self, seed: int, sender: int, points: int) -> None:
        label = ((EXPLODING.attributes[0], PREFIX + _MARK),)
        payload, rows = serialise_points(seed, [Point(sender, EXPLODING, label)] * points, frozenset())
        found = locate_points(payload, rows)
        self.bytes = np.frombuffer(payload, np.uint8).copy()
        size = len(payload) - 7
        self.big: Words = np.ndarray((size,), ">u8", self.bytes, strides=(1,))
        self.little: NDArray[np.int64] = np.ndarray((size,), "<i8", self.bytes, strides=(1,))
        self.starts = np.array([at for at, _ in found.starts], np.intp)
        self.times = np.array([at for at, _ in found.times], np.intp)
        self.numbers = np.array([at for at, _ in found.numbers], np.intp)
        labels, at = [], payload.find(_MARK.encode())
        while at >= 0:
            labels.append(at)
            at = payload.find(_MARK.encode(), at + len(_MARK))
        self.labels = np.array(labels, np.intp)


class ExplosionRequest:
    """The series `first` to `first + len`. In round n each of them has reached n + 1."""

    late = False
    has_deltas = False

    def __init__(self, seed: int, sender: int, first: int, template: _Template) -> None:
        self.sender = sender
        self._template = template
        numbers = np.arange(first, first + len(template.labels), dtype=np.uint64)
        self._labels = hexadecimal(sessions(seed, numbers))

    def __len__(self) -> int:
        """Points in the request."""
        return len(self._template.labels)

    @property
    def size(self) -> int:
        """Bytes of the payload."""
        return len(self._template.bytes)

    def encode(self, moment: Moment, before: Moment | None, clock: Clock) -> bytes:
        """The request as made at that moment."""
        del before
        template = self._template
        template.big[template.labels], template.big[template.labels + 8] = self._labels
        template.little[template.starts] = clock.began
        template.little[template.times] = moment.at
        template.little[template.numbers] = moment.round + 1
        return template.bytes.tobytes()


def explosion(seed: int, senders: int, series: int, batch: int) -> list[ExplosionRequest]:
    """The requests that carry so many series once."""
    templates: dict[tuple[int, int], _Template] = {}
    requests = []
    for number, first in enumerate(range(0, series, batch)):
        key = number % senders, min(batch, series - first)
        if key not in templates:
            templates[key] = _Template(seed, *key)
        requests.append(ExplosionRequest(seed, key[0], first, templates[key]))
    return requests
