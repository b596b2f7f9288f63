"""How problems are told."""

import time

from collector.config.problems import did_you_mean


def test_the_nearest_name_is_suggested():
    assert did_you_mean("recievers", ["receivers", "exporters"]) == ", did you mean 'receivers'?"
    assert did_you_mean("zzz", ["receivers"]) == ""


def test_nothing_is_suggested_where_it_would_take_long():
    names = [f"traces/pipeline{number}" for number in range(20_000)]
    began = time.thread_time()
    for word in names[:1000]:
        assert did_you_mean(word + "x", names) == ""
    assert did_you_mean("receivers" * 10_000, ["receivers" * 10_000]) == ""
    assert time.thread_time() - began < 5
