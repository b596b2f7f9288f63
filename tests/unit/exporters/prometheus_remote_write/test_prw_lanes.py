"""Dividing what is refused, against answers by place in the order in which samples are sent."""

from __future__ import annotations

import random

import pytest

from exporters.prometheus_remote_write.lanes import LaneSender, Limits, Staged
from exporters.prometheus_remote_write.over_http import Answer, Meaning
from tests.property.prw_metrics import NOW
from tests.property.test_prw_against_protobuf import translator
from tests.unit.exporters.prometheus_remote_write.prw_backend import gauges

SECOND = 10**9
NAMES = [f"m{number}" for number in range(1000)]


class Rig:
    """Lanes to a backend that refuses every request with a sample that is `bad(place)`, or answers 500 while `down`."""

    def __init__(self, bad, *, lanes=1):
        self.bad = bad
        self.down = False
        self.now = 0.0
        self.requests = 0
        self.lane_count = lanes
        self.lanes = LaneSender(self, Limits(5000, 10**7, 60.0), lambda: self.now, lambda *_: None)

    async def post(self, _, begin, end):
        self.requests += 1
        if self.down:
            return Answer(Meaning.FAILED, 500)
        return Answer(Meaning.REFUSED if any(self.bad(place) for place in range(begin, end)) else Meaning.TAKEN)

    def staged(self, turns=1):
        """A thousand series of `turns` samples each."""
        payload = b"".join(gauges(NAMES, NOW + turn * SECOND) for turn in range(turns))
        return Staged(translator(lanes=self.lane_count).translate(payload, NOW + 1000 * SECOND), None)

    def lost(self, staged):
        """Samples that were refused though they are good."""
        bad = sum(map(self.bad, range(staged.table.lanes[-1][1])))
        return int((staged.table.reasons != 0).sum()) - bad


@pytest.mark.parametrize("lanes", [1, 5])
@pytest.mark.parametrize("share", [0.2, 0.6])
async def test_a_sender_of_which_everything_is_refused_takes_few_samples_of_others_along(lanes, share):
    first = int(0.23 * 1000 / lanes)
    rig = Rig(lambda place: first <= place % (1000 // lanes) < first + share * 1000 / lanes, lanes=lanes)
    staged = rig.staged(turns=1 if lanes > 1 else 4)
    assert await rig.lanes.send(staged) == []
    assert rig.lost(staged) <= 0.05 * len(staged.table.reasons)


@pytest.mark.parametrize("lanes", [1, 5, 64])
async def test_bad_samples_here_and_there_take_no_good_ones_along(lanes):
    chance = random.Random(7)
    bad = {place for place in range(4000) if chance.random() < 0.5}
    rig = Rig(bad.__contains__, lanes=lanes)
    staged = rig.staged(turns=4)
    assert await rig.lanes.send(staged) == []
    assert rig.lost(staged) == 0


async def test_what_is_good_after_much_that_was_refused_loses_nothing_for_one_bad_sample():
    rig = Rig(lambda place: place < 3000 or place == 3333)
    staged = rig.staged(turns=4)
    assert await rig.lanes.send(staged) == []
    assert rig.lost(staged) == 0


async def test_a_long_outage_with_500_refuses_next_to_nothing_and_saves_the_divisions():
    rig = Rig(lambda place: place == 999)
    rig.down = True
    staged = rig.staged()
    for _ in range(200):
        assert await rig.lanes.send(staged)
        rig.now += 30
    assert rig.requests == 200
    rig.down = False
    assert await rig.lanes.send(staged) == []
    assert rig.lost(staged) == 0
