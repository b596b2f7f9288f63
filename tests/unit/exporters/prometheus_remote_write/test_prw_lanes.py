"""Dividing what is refused, against answers by place in the order in which samples are sent."""

from __future__ import annotations

import random

import pytest

from exporters.prometheus_remote_write.lanes import LaneSender, Limits, Staged
from exporters.prometheus_remote_write.over_http import Answer, Meaning
from exporters.prometheus_remote_write.reasons import REASONS
from tests.property.prw_metrics import NOW
from tests.property.test_prw_against_protobuf import translator
from tests.unit.exporters.prometheus_remote_write.prw_backend import gauges

SECOND = 10**9
NAMES = [f"m{number}" for number in range(1000)]


class Rig:
    """Lanes to a backend that refuses every request with a sample that is `bad(place)`, and answers 500 while `down`,
    to a share `flaky` of all requests, and to each with a sample that is `poison(place)`."""

    def __init__(self, bad=lambda place: False, *, lanes=1, poison=lambda place: False, seed=1):
        self.bad = bad
        self.poison = poison
        self.down = False
        self.flaky = 0.0
        self.chance = random.Random(seed)
        self.now = 0.0
        self.requests = 0
        self.lane_count = lanes
        self.lanes = LaneSender(self, Limits(5000, 10**7, 60.0), lambda: self.now, lambda *_: None)

    async def post(self, _, begin, end):
        self.requests += 1
        places = range(begin, end)
        if self.down or self.chance.random() < self.flaky or any(map(self.poison, places)):
            return Answer(Meaning.FAILED, 500)
        return Answer(Meaning.REFUSED if any(map(self.bad, places)) else Meaning.TAKEN)

    def staged(self, turns=1):
        """A thousand series of `turns` samples each."""
        payload = b"".join(gauges(NAMES, NOW + turn * SECOND) for turn in range(turns))
        return Staged(translator(lanes=self.lane_count).translate(payload, NOW + 1000 * SECOND), None)

    async def attempts(self, staged, most, every=20):
        """Send until all of it is settled; how many attempts that took."""
        for number in range(1, most + 1):
            if not await self.lanes.send(staged):
                return number
            self.now += every
        raise AssertionError(f"not settled after {most} attempts")

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


@pytest.mark.parametrize("lanes", [1, 5])
@pytest.mark.parametrize("flaky", [0.5, 0.9])
@pytest.mark.parametrize("seed", range(5))
async def test_an_outage_that_ends_with_answers_now_500_and_now_not_costs_nothing(lanes, flaky, seed):
    rig = Rig(lanes=lanes, seed=seed)
    staged = rig.staged()
    rig.down = True
    for _ in range(30):
        assert await rig.lanes.send(staged)
        rig.now += 20
    rig.down, rig.flaky = False, flaky
    for _ in range(20):
        await rig.lanes.send(staged)
        rig.now += 1
    rig.flaky = 0.0
    assert await rig.lanes.send(staged) == []
    assert rig.lost(staged) == 0


@pytest.mark.parametrize("lanes", [1, 5])
async def test_half_of_the_replicas_may_be_broken_for_hours(lanes):
    rig = Rig(lanes=lanes)
    rig.flaky = 0.5
    for _ in range(50):
        staged = rig.staged()
        await rig.attempts(staged, 200)
        assert rig.lost(staged) == 0


@pytest.mark.parametrize("lanes", [1, 5])
async def test_what_makes_the_backend_fail_is_found_as_soon_as_that_has_lasted(lanes):
    poison = {3, 500, 501, 999}
    rig = Rig(lanes=lanes, poison=poison.__contains__)
    staged = rig.staged()
    assert await rig.attempts(staged, 20, every=30) <= 3 + 12  # a division each until anything is taken, at the worst
    assert rig.lost(staged) == len(poison)
    refused = staged.table.reasons[staged.table.reasons != 0]
    assert {REASONS[number] for number in refused} == {"server_error"}


@pytest.mark.parametrize(("others", "minutes"), [(True, 2), (False, 12)])
async def test_a_lone_sample_that_makes_the_backend_fail_is_given_up_in_the_end(others, minutes):
    rig = Rig(poison=lambda place: True)
    staged = Staged(translator().translate(gauges(["only"], NOW), NOW + SECOND), None)
    while await rig.lanes.send(staged):
        assert rig.lost(staged) == 0 or rig.now >= 60 * minutes
        rig.now += 20
        if others and rig.now > 60:
            rig.poison = lambda place: False
            assert await rig.lanes.send(rig.staged()) == []
            rig.poison = lambda place: True
    assert rig.lost(staged) == 1
    assert rig.now <= 60 * minutes + 60


async def test_an_hour_of_503_between_two_answers_500_is_no_hour_of_500():
    rig = Rig()
    staged = Staged(translator().translate(gauges(["only"], NOW), NOW + SECOND), None)
    rig.down = True
    assert await rig.lanes.send(staged)
    post, rig.post = rig.post, later
    for _ in range(60):
        rig.now += 60
        assert await rig.lanes.send(staged)
    rig.post = post
    for _ in range(2):
        assert await rig.lanes.send(staged)
        rig.now += 1
    rig.down = False
    assert await rig.lanes.send(staged) == []
    assert rig.lost(staged) == 0


async def later(*_):
    return Answer(Meaning.LATER, 503)
