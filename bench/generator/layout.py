"""Who sends which span when: the spans of a cycle, laid out over senders and requests.

Each node exports its own spans in the order in which they ended, as an SDK's batch processor does, so a
trace of several nodes is spread over several connections and requests. Some spans are out of order, some
late, some very late.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from random import Random

    from numpy.typing import NDArray

    from bench.generator.traces import Mix, Span


@dataclass(frozen=True, slots=True)
class Plan:
    """`requests`: (sender, span ordinals, very late) in sending order. `position[trace]`: 0 to 1 within
    the cycle."""

    requests: list[tuple[int, list[int], bool]]
    position: NDArray[np.float64]


def arrange(spans: list[Span], senders: int, batch: int, mix: Mix, random: Random) -> Plan:
    """Lay out the spans (in ordinal order, traces one after another).

    Out of order: by up to half of what all senders hold in one batch. Late: by one to two such rounds.
    Very late: in requests of their own, which the runner holds back.
    """
    round_size = senders * batch
    keyed: list[list[tuple[float, int]]] = [[] for _ in range(senders)]
    held: list[list[tuple[float, int]]] = [[] for _ in range(senders)]
    first_of_trace = 0
    for span in spans:
        if span.parent < 0:
            first_of_trace = span.ordinal
        draw = random.random()
        # Children end before their parents: the later an ordinal in its trace, the deeper it tends to be.
        key = first_of_trace + 40.0 - (span.ordinal - first_of_trace)
        if draw < mix.very_late:
            held[span.node].append((key, span.ordinal))
            continue
        if draw < mix.very_late + mix.late:
            key += round_size * random.uniform(1.0, 2.0)
        elif draw < mix.very_late + mix.late + mix.out_of_order:
            key += round_size * random.uniform(0.0, 0.5)
        keyed[span.node].append((key, span.ordinal))
    requests = _chunks(keyed, batch, late=False) + _chunks(held, batch, late=True)
    requests.sort()
    position = np.zeros(spans[-1].trace + 1)
    for span in spans:
        if span.parent < 0:
            position[span.trace] = span.ordinal / len(spans)
    return Plan([(sender, members, late) for _, sender, members, late in requests], position)


def _chunks(
    queues: list[list[tuple[float, int]]], batch: int, *, late: bool
) -> list[tuple[float, int, list[int], bool]]:
    requests = []
    for sender, queue in enumerate(queues):
        queue.sort()
        for begin in range(0, len(queue), batch):
            chunk = queue[begin : begin + batch]
            requests.append((chunk[-1][0], sender, [ordinal for _, ordinal in chunk], late))
    return requests
