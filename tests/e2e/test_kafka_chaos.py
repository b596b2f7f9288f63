"""Processes die, are suspended, come and go under load: nothing acknowledged is lost, decided twice, or split.

But for the share of ordinary traces that are kept, which here depends on the moment (`BY_THE_MOMENT`), everything is
compared with the ground truth.
"""

import itertools
import os
import random
import signal
import time

import pytest
from kafka_tiers import BY_THE_MOMENT, INGEST, PARTITIONS, SAMPLE, Load, Tiers


def started(tiers, ingest=1, *, instances=False):
    """So many ingest processes, beside two samplers."""
    found = [tiers.member(f"ingest-{number}", INGEST) for number in range(1, ingest + 1)]
    for number in (1, 2):
        tiers.member(f"sampler-{number}", SAMPLE, instance=f"sampler-{number}" if instances else "")
    tiers.make_topics()
    tiers.start()
    tiers.recovery()
    return found


def assignments(member):
    """How often the group has given it partitions."""
    return member.log.read_text().count("are this process's now")


def decided(tiers):
    """Whether verdicts were taken, made durable and carried out: before that, a death meets no journal."""
    return sum(place.committed for place in tiers.places().values()) > PARTITIONS


def kill_often(tmp_path, brokers, kills, rate, seed):
    rng = random.Random(seed)
    # Longer than a restart of an ingest process and its senders' backoff together: a span that comes after its verdict
    # may rightly be dropped. What waits in Kafka for a sampler has its time of append, and is never late.
    wait_s = 8
    recoveries, last = [], {}
    with Tiers(tmp_path, brokers, ordinary=BY_THE_MOMENT, decision_wait=f"{wait_s}s") as tiers:
        ingest = started(tiers, ingest=2)
        load = Load(ingest, rate=rate, seed=seed)
        tiers.until(lambda: decided(tiers), "decided")
        for _ in range(kills):
            time.sleep(rng.uniform(0.05, 2.0))
            # One ingest process that dies twice in this time would make its senders' spans late.
            name = rng.choice([each for each in tiers.members if time.monotonic() > last.get(each, 0) + wait_s])
            victim = tiers.members[name]
            if victim in ingest:
                last[name] = time.monotonic()
            victim.kill()
            time.sleep(rng.uniform(0, 0.2))
            victim.start(wait=False)
            if rng.random() < 0.5:  # else the next one dies while this one recovers
                recoveries.append(tiers.recovery())
        recoveries.append(tiers.recovery())
        load.stop()
        tiers.finish()
        report = load.report(tiers.kept_files(), wait=wait_s)
    print(f"\n{kills} kills, slowest recovery {max(recoveries):.1f} s\n{load.told(report)}")
    assert report.nothing_lost
    assert report.unknown == 0
    assert max(recoveries) < 15
    return report


def test_a_few_kills_of_either_tier(tmp_path, kafka):
    assert kill_often(tmp_path, kafka.bootstrap, kills=6, rate=3000, seed=11).acked > 20_000


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_sixty_kills(tmp_path, kafka):
    assert kill_often(tmp_path, kafka.bootstrap, kills=60, rate=20_000, seed=int(time.time())).acked > 500_000


def test_a_member_with_a_name_dies_and_comes_back_without_a_rebalance(tmp_path, kafka):
    # A session that is longer than a restart: until it ends, the place is kept.
    with Tiers(tmp_path, kafka.bootstrap, session="15s", ordinary=BY_THE_MOMENT, decision_wait="2s") as tiers:
        load = Load(started(tiers, instances=True), rate=3000)
        tiers.until(lambda: decided(tiers), "decided")
        dies, stays = tiers.members["sampler-1"], tiers.members["sampler-2"]
        before, given = tiers.places("sampler-2").keys(), assignments(stays)
        dies.kill()
        dies.start()
        recovery = tiers.recovery()
        assert assignments(stays) == given
        assert tiers.places("sampler-2").keys() == before
        load.stop()
        tiers.finish()
        report = load.report(tiers.kept_files(), wait=2)
    print(f"\nrecovery {recovery:.1f} s\n{load.told(report)}")
    assert report.nothing_lost
    assert report.refused == report.unknown == load.retries == 0


def rebalance(tmp_path, brokers, rounds, rate, pause_s):
    """Each round a sampler joins, then one leaves in an orderly way, then one joins and one dies."""
    recoveries = []
    with Tiers(tmp_path, brokers, ordinary=BY_THE_MOMENT, decision_wait="2s") as tiers:
        load = Load(started(tiers), rate=rate)
        tiers.until(lambda: decided(tiers), "decided")
        changes = itertools.cycle(["join", "leave", "join", "die"])
        numbers = itertools.count(3)
        members = ["sampler-1", "sampler-2"]
        for change in itertools.islice(changes, rounds):
            if change == "join":
                members.append(f"sampler-{next(numbers)}")
                tiers.member(members[-1], SAMPLE)
                tiers.members[members[-1]].start()
            elif change == "leave":
                tiers.members[members.pop(0)].terminate()
            else:
                tiers.members[members.pop(0)].kill()
            recoveries.append(tiers.recovery())
            time.sleep(max(0.0, pause_s - recoveries[-1]))
        load.stop()
        tiers.finish()
        report = load.report(tiers.kept_files(), wait=2)
    print(f"\n{rounds} rebalances, slowest recovery {max(recoveries):.1f} s\n{load.told(report)}")
    assert report.nothing_lost
    assert report.refused == report.unknown == load.retries == 0
    assert max(recoveries) < 15
    return report


def test_members_join_leave_and_die(tmp_path, kafka):
    assert rebalance(tmp_path, kafka.bootstrap, rounds=4, rate=3000, pause_s=0.5).acked > 10_000


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_a_rebalance_every_ten_seconds_for_ten_minutes(tmp_path, kafka):
    assert rebalance(tmp_path, kafka.bootstrap, rounds=60, rate=20_000, pause_s=10).acked > 5_000_000


def suspend_often(tmp_path, brokers, times, rate):
    """One sampler after the other is frozen until the other has decided its partitions, and then wakes."""
    lost = 0
    with Tiers(tmp_path, brokers, session="1s", ordinary=BY_THE_MOMENT, decision_wait="2s") as tiers:
        load = Load(started(tiers), rate=rate)
        tiers.until(lambda: decided(tiers), "decided")
        pairs = itertools.cycle([("sampler-1", "sampler-2"), ("sampler-2", "sampler-1")])
        for name, other in itertools.islice(pairs, times):
            zombie = tiers.members[name]
            held, given, before = tiers.places(name), assignments(zombie), losses(zombie)
            assert held
            os.kill(zombie.pid, signal.SIGSTOP)

            def taken_over(held=held, other=other):
                places = tiers.places(other)
                return all(name in places and places[name].committed > place.head for name, place in held.items())

            tiers.until(taken_over, "taken over")
            os.kill(zombie.pid, signal.SIGCONT)
            tiers.until(lambda zombie=zombie, given=given: assignments(zombie) > given, "in the group again")
            tiers.recovery()
            lost += losses(zombie) - before
        load.stop()
        tiers.finish()
        report = load.report(tiers.kept_files(), wait=2)
    print(f"\nsuspended {times} times; {lost} times a partition was found to be another's by writing")
    print(load.told(report))
    assert report.nothing_lost
    assert report.refused == report.unknown == load.retries == 0


def losses(member):
    """How often a commit or a verdict of its was refused because another owns the partition."""
    return member.log.read_text().count("ownership lost")


def test_a_suspended_sampler_changes_nothing_when_it_wakes(tmp_path, kafka):
    """Awake, it believes for a moment that its partitions are still its own; another has decided their traces."""
    suspend_often(tmp_path, kafka.bootstrap, times=2, rate=3000)


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_suspended_often(tmp_path, kafka):
    suspend_often(tmp_path, kafka.bootstrap, times=40, rate=6000)
