import logging

import pytest

from collector.api import Ack, Batch, BuildContext, Outcome, Overloaded, Signal
from processors.memory_limiter import MemoryLimiter, MemoryLimiterConfig, soft_limit, total_memory

S = 10**9
MIB = 1 << 20


class Limiter:
    def __init__(self, **options):
        self.memory = 0
        self.samples = 0
        self.waits = []
        self.context = BuildContext("memory_limiter", logging.getLogger("limiter"), resident_bytes=self.resident)
        config = MemoryLimiterConfig.model_validate(options)
        assert MemoryLimiter.problems(config) == []
        self.it = MemoryLimiter(config, self.context)

    def resident(self):
        self.samples += 1
        return self.memory

    def at(self, seconds, mib):
        self.memory = mib * MIB
        assert list(self.it.tick(int(seconds * S))) == []
        return self

    def takes(self, size=1, inflight=0):
        try:
            self.it.admit(size, inflight)
        except Overloaded as error:
            self.waits.append(error.retry_after_ns)
            return False
        return True

    def refused(self, reason):
        labels = {"processor": "memory_limiter", "reason": reason}
        return self.context.meter.registry.get_sample_value("butterfly_memory_limiter_refused_total", labels)


def test_the_door_closes_over_the_soft_limit_and_opens_with_some_slack():
    limiter = Limiter(limit_mib=100, spike_limit_mib=20)
    assert limiter.takes()
    assert limiter.at(0, 80).takes()
    assert not limiter.at(1, 81).takes()
    assert not limiter.at(2, 78).takes()
    assert limiter.at(3, 75).takes()
    assert limiter.at(4, 79).takes()
    assert limiter.refused("memory") == 2
    assert limiter.refused("inflight") == 0
    assert limiter.waits == [S, S]


def test_memory_is_looked_at_each_interval_alone():
    limiter = Limiter(limit_mib=100, check_interval="2s")
    for tenth in range(40):
        limiter.at(tenth / 10, 10).takes()
    assert limiter.samples == 2


def test_what_can_be_given_back_is_not_held_against_senders(monkeypatch):
    limiter = Limiter(limit_mib=100)
    given = []

    def give_back():
        given.append(limiter.memory)
        limiter.memory = 50 * MIB

    monkeypatch.setattr("processors.memory_limiter._give_back", give_back)
    assert limiter.at(0, 90).takes()
    assert not limiter.at(1, 90).takes(), "at most every ten seconds"
    assert limiter.at(10, 90).takes()
    assert len(given) == 2


def test_giving_back_works_on_this_machine():
    assert not Limiter(limit_mib=100).at(0, 90).takes()


def test_the_byte_budget():
    limiter = Limiter(max_inflight="1KiB")
    assert limiter.takes(1000, 24)
    assert not limiter.takes(1000, 25)
    assert limiter.takes(5000, 0), "alone, anything has its turn"
    assert not limiter.takes(5000, 1)
    assert limiter.at(0, 1 << 30).takes()
    assert limiter.samples == 0
    assert limiter.refused("inflight") == 2
    assert limiter.refused("memory") == 0


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"limit_mib": 100}, 80 * MIB),
        ({"limit_mib": 100, "spike_limit_mib": 30}, 70 * MIB),
        ({"limit_percentage": 50}, int(total_memory() * 0.4)),
        ({"limit_percentage": 75, "spike_limit_percentage": 25}, int(total_memory() * 0.5)),
        ({"limit_mib": 100, "limit_percentage": 1}, 80 * MIB),
        ({"max_inflight": "1MiB"}, 0),
    ],
)
def test_the_soft_limit(options, expected):
    assert soft_limit(MemoryLimiterConfig.model_validate(options)) == expected


def test_a_container_has_less_than_its_machine(monkeypatch, tmp_path):
    group = tmp_path / "memory.max"
    machine = total_memory()
    monkeypatch.setattr("processors.memory_limiter._CGROUP_LIMITS", (str(tmp_path / "absent"), str(group)))
    group.write_text("12345678\n")
    assert total_memory() == 12345678
    group.write_text("max\n")
    assert total_memory() >= machine


@pytest.mark.parametrize(
    ("options", "path"),
    [
        ({}, ()),
        ({"limit_mib": 100, "spike_limit_mib": 100}, ("spike_limit_mib",)),
        ({"limit_percentage": 50, "spike_limit_percentage": 60}, ("spike_limit_percentage",)),
        ({"limit_mib": 100, "spike_limit_percentage": 10}, ("spike_limit_percentage",)),
        ({"max_inflight": "1MiB", "spike_limit_mib": 10}, ("spike_limit_mib",)),
    ],
)
def test_problems(options, path):
    ((where, sentence),) = MemoryLimiter.problems(MemoryLimiterConfig.model_validate(options))
    assert where == path
    assert "expected" in sentence


def test_a_percentage_beside_a_limit_is_worth_a_warning():
    config = MemoryLimiterConfig.model_validate({"limit_mib": 100, "limit_percentage": 50})
    ((where, _),) = MemoryLimiter.warnings(config)
    assert where == ("limit_percentage",)


def test_batches_pass_untouched():
    limiter = Limiter(limit_mib=1).at(0, 100)
    batch = Batch(b"", Ack.ignore())
    assert list(limiter.it.process(batch)) == [batch]
    assert MemoryLimiter.pure
    batch.ack.resolve(0)


@pytest.mark.parametrize("signal", Signal)
def test_batches_of_every_signal_pass_untouched(signal):
    assert signal in MemoryLimiter.signals
    limiter = Limiter(limit_mib=100).at(0, 200)
    batch = Batch(b"", Ack(lambda _outcome, _reason: None), signal=signal, count=0)
    assert list(limiter.it.process(batch)) == [batch]
    batch.ack.resolve(Outcome.FILTERED)
