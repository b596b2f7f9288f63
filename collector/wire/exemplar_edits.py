"""Points with other exemplars than they had: everything else of them stays byte for byte."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from collector.wire.exemplars import Exemplars
    from collector.wire.points import PointIndex


def edit_exemplars(payload: bytes, index: PointIndex, found: Exemplars, edits: Mapping[int, bytes]) -> dict[int, bytes]:
    """The new body of each point, by row of `index`, of which an exemplar is in `edits`: for a `Batch.rewrite`.

    `edits` has the new field (tag and length included; nothing: it goes) of rows of `found`, which is
    `find_exemplars(payload, index)`.
    """
    bodies: dict[int, bytes] = {}
    rows = np.fromiter(edits, np.intp, len(edits))
    for point in np.unique(found.point[rows]).tolist():
        at = int(index.offset[point])
        end = at + int(index.length[point])
        pieces: list[bytes] = []
        begin, stop = np.searchsorted(found.point, [point, point + 1])  # rows are in order of the payload
        for row in range(begin, stop):
            if row in edits:
                start = int(found.offset[row])
                pieces += (payload[at:start], edits[row])
                at = start + int(found.length[row])
        pieces.append(payload[at:end])
        bodies[point] = b"".join(pieces)
    return bodies
