"""The memory of what was taken: what it knows, when it grows, and what becomes of its files."""

import logging
import os

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from collector.api import ConfigError
from exporters.prometheus_remote_write.accumulate import Accumulator
from exporters.prometheus_remote_write.messages import Messages
from exporters.prometheus_remote_write.naming import Names
from exporters.prometheus_remote_write.sent import SentSamples
from exporters.prometheus_remote_write.sent_file import SentMemory
from exporters.prometheus_remote_write.text import bound_text, value_text
from exporters.prometheus_remote_write.translate import Translator

NOW = 1_700_000_000_000_000_000
KEY = bytes(range(32))
LOG = logging.getLogger("test")
SLOTS = 1 << 14
FULL = SLOTS // 4 * 3
URL = "http://backend:9090/api/v1/write"


def table(series, seconds=(0,), *, value=1.0, key=KEY, target=b""):
    request = ExportMetricsServiceRequest()
    group = request.resource_metrics.add()
    group.resource.attributes.add(key="service.name").value.string_value = "s"
    group.resource.attributes.add(key="zone").value.string_value = "z"
    metric = group.scope_metrics.add().metrics.add(name="m")
    for number in series:
        for second in seconds:
            point = metric.gauge.data_points.add(time_unix_nano=NOW + second * 10**9, as_double=value)
            point.attributes.add(key="n").value.int_value = number
    return Translator(
        key, Accumulator(10, 1), names=Names("UnderscoreEscapingWithSuffixes").translate, render=value_text,
        bound=bound_text, target_name=target,
    ).translate(request.SerializeToString(), NOW + 10**15)  # fmt: skip


def note(memory, made):
    ((begin, end),) = made.lanes
    return memory.note(made, begin, end)


def left(memory, made):
    ((begin, end),) = made.lanes
    return memory.sift(made, begin, end) - begin


def opened(path, most=1000, *, key=KEY, url=URL, clock=lambda: 0.0):
    memory = SentMemory(path / "e.sent", most, LOG, clock)
    memory.open(key, url)
    return memory


def files(path):
    return sorted(path.glob("e.sent*"))


def recent(path):
    return max(files(path), key=lambda file: int.from_bytes(file.read_bytes()[8:16], "little"))


@pytest.mark.parametrize(
    ("again", "unknown"),
    [
        ({}, 0),
        ({"value": 2.0}, 100),
        ({"seconds": (1,)}, 100),
        ({"seconds": (0, 1)}, 100),
        ({"series": range(50, 150)}, 50),
        ({"key": bytes(32)}, 100),
    ],
)
def test_a_sample_is_its_series_its_time_and_its_value(again, unknown):
    samples = SentSamples()
    samples.begin(SLOTS)
    note(samples, table(range(100)))
    assert samples.count == 100
    assert left(samples, table(**{"series": range(100)} | again)) == unknown


def test_what_is_left_keeps_its_order_and_is_what_is_sent():
    samples = SentSamples()
    samples.begin(SLOTS)
    note(samples, table(range(0, 100, 3), (1,)))
    made = table(range(100), (0, 1, 2))
    ((begin, end),) = made.lanes
    expected = table([n for n in range(100) if n % 3], (0, 1, 2))
    end = samples.sift(made, begin, end)
    assert end == 300 - 34
    plain = table(range(100), (0, 1, 2))
    whole = Messages(plain).write_v1(*plain.lanes[0])
    assert len(Messages(made).write_v1(begin, end)) < len(whole)
    assert expected.lanes == [(0, 198)]
    at, requests = begin, 0
    while at < end:
        at = made.next(at, end, 10**6, 1 << 40)
        requests += 1
    assert requests == 3, "no request has two samples of a series"


def test_native_histograms_are_known_by_their_buckets():
    def histogram(count):
        request = ExportMetricsServiceRequest()
        metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="h").exponential_histogram
        metric.aggregation_temporality = 2
        metric.data_points.add(time_unix_nano=NOW, count=count, zero_count=count)
        made = Translator(
            KEY, Accumulator(10, 1), names=Names("UnderscoreEscapingWithSuffixes").translate, render=value_text,
            bound=bound_text,
        )  # fmt: skip
        return made.translate(request.SerializeToString(), NOW)

    samples = SentSamples()
    samples.begin(SLOTS)
    note(samples, histogram(3))
    assert [left(samples, histogram(count)) for count in (3, 4)] == [0, 1]


@pytest.mark.parametrize(("seconds", "kept"), [(0, 1), (25, 1), (-50, 1), (70, 2), (-200, 2)])
def test_target_info_is_known_by_its_minute_since_other_points_may_come_with_it(seconds, kept):
    minute = -(NOW // 10**9 % 60) + 30
    samples = SentSamples()
    samples.begin(SLOTS)
    made = table([1], [minute], target=b"target_info")
    assert made.lanes == [(0, 2)]
    note(samples, made)
    assert left(samples, table([2], [minute + seconds], target=b"target_info")) == kept


def test_two_generations_are_looked_into_and_the_oldest_is_forgotten():
    samples = SentSamples()
    for generation in range(3):
        samples.begin(SLOTS)
        note(samples, table([generation]))
    assert [left(samples, table([generation])) for generation in range(3)] == [1, 0, 0]


def test_a_full_generation_takes_no_more_and_slots_are_a_power_of_two():
    samples = SentSamples()
    assert samples.room == 0
    samples.begin(4)
    note(samples, table(range(3)))
    assert samples.room == 0
    with pytest.raises(ValueError, match="full"):
        note(samples, table([7]))
    assert left(samples, table(range(4))) == 1
    with pytest.raises(ValueError, match="power of two"):
        samples.begin(48)
    made = table(range(3))
    with pytest.raises(IndexError):
        samples.note(made, 0, 4)
    with pytest.raises(IndexError):
        samples.sift(made, 0, 4)


def test_the_next_life_knows_what_the_last_one_noted(tmp_path):
    first = opened(tmp_path)
    note(first, table(range(100)))
    note(first, table(range(100, 200)))
    assert {file.stat().st_mode & 0o777 for file in files(tmp_path)} == {0o600}
    first.close()  # closing writes nothing: what is there was there when `note` returned
    second = opened(tmp_path)
    assert left(second, table(range(300))) == 100
    assert second.repeated == 200
    second.close()
    assert sum(file.stat().st_size for file in files(tmp_path)) == 32 + 200 * 16


@pytest.mark.parametrize("torn", range(1, 33))
def test_a_torn_entry_is_forgotten_and_no_other(tmp_path, torn):
    first = opened(tmp_path)
    note(first, table(range(10)))
    first.close()
    os.truncate(recent(tmp_path), 32 + 10 * 16 - torn)
    lost = 1 if torn <= 16 else (2 if torn <= 32 else 3)
    second = opened(tmp_path)
    assert left(second, table(range(20))) == 10 + lost
    note(second, table(range(20, 30)))
    second.close()
    third = opened(tmp_path)
    assert left(third, table(range(30))) == 10 + lost, "what came after it stands at its place"
    third.close()


@pytest.mark.parametrize("damage", [lambda b: bytes(len(b)), lambda b: b"\xff" * len(b), lambda b: b[8:] + b[:8]])
def test_spoiled_entries_let_nothing_be_left_out(tmp_path, damage):
    first = opened(tmp_path)
    note(first, table(range(10)))
    first.close()
    file = recent(tmp_path)
    content = file.read_bytes()
    file.write_bytes(content[:32] + damage(content[32:]))
    second = opened(tmp_path)
    assert left(second, table(range(10))) == 10
    second.close()


@pytest.mark.parametrize("content", [b"no memory at all" * 100, b"BFSENT\0\2" + bytes(100), b"\0"])
def test_another_file_is_set_aside_with_one_warning(tmp_path, content, caplog):
    (tmp_path / "e.sent.0").write_bytes(content)
    memory = opened(tmp_path)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert (tmp_path / "e.sent.0.damaged").read_bytes() == content
    note(memory, table([1]))
    memory.close()
    again = opened(tmp_path)
    assert left(again, table([1, 2])) == 1
    again.close()


@pytest.mark.parametrize("other", [{"url": "http://another:9090/api/v1/write"}, {"key": bytes(32)}])
def test_another_backend_or_key_begins_anew(tmp_path, other, caplog):
    first = opened(tmp_path)
    note(first, table([1]))
    first.close()
    second = opened(tmp_path, **other)
    assert second.samples.count == 0
    second.close()
    assert not caplog.records


def test_the_files_belong_to_one_process(tmp_path):
    first = opened(tmp_path)
    with pytest.raises(ConfigError, match="another process"):
        opened(tmp_path)
    first.close()
    opened(tmp_path).close()


def test_a_folder_that_cannot_be_is_told(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigError, match="memory of what was sent"):
        opened(tmp_path / "file")


def test_it_grows_to_its_bound_and_keeps_everything_on_the_way_then_forgets_the_oldest(tmp_path):
    memory = opened(tmp_path, most=20_000)
    step, slots = 5000, set()
    for begin in range(0, 60_000, step):
        note(memory, table(range(begin, begin + step)))
        slots.add(memory.samples.slots)
        known = begin + step - left(memory, table(range(begin + step)))
        assert known >= min(begin + step, 20_000)
    assert slots == {SLOTS, 2 * SLOTS}
    known = [step - left(memory, table(range(begin, begin + step))) for begin in range(0, 60_000, step)]
    assert known == [0] * known.count(0) + [step] * (len(known) - known.count(0))
    memory.close()
    again = opened(tmp_path, most=20_000)
    assert [step - left(again, table(range(b, b + step))) for b in range(0, 60_000, step)] == known
    again.close()
    assert sum(file.stat().st_size for file in files(tmp_path)) <= 2 * (32 + 2 * FULL * 16)


def test_a_generation_that_lasts_is_large_enough(tmp_path):
    now = [0.0]
    memory = opened(tmp_path, most=10**6, clock=lambda: now[0])
    for begin in range(0, 40_000, 5000):
        note(memory, table(range(begin, begin + 5000)))
        now[0] += 400
    assert memory.samples.slots == SLOTS
    memory.close()


def test_a_request_that_is_larger_than_a_generation_lets_it_grow_or_is_not_noted(tmp_path):
    memory = opened(tmp_path, most=20_000, clock=lambda: 10.0**9)
    note(memory, table(range(20_000)))
    assert left(memory, table(range(20_000))) == 0
    note(memory, table(range(30_000), (1,)))
    assert left(memory, table(range(30_000), (1,))) == 30_000
    memory.close()


def test_a_disk_that_is_full_is_told_once_and_this_life_still_knows(tmp_path, monkeypatch, caplog):
    memory = opened(tmp_path)
    note(memory, table(range(10)))
    whole = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, data, at: whole(file, data[: len(data) - 24], at))
    note(memory, table(range(10, 20)))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    note(memory, table(range(20, 30)))
    assert left(memory, table(range(30))) == 0
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    monkeypatch.undo()
    note(memory, table(range(30, 40)))
    memory.close()
    again = opened(tmp_path)
    assert left(again, table(range(40))) == 2 + 10
    again.close()
