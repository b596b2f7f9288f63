"""`decision_wait: 10m` at 10,000 spans/s in a small process; the default run scales the time down and nothing else."""

import time

import pytest
from gateway_process import Gateway, quickstart
from traffic import Sending


def fill(tmp_path, wait_s, rate, senders=8, batch=200):
    config = quickstart(tmp_path, decision_wait=f"{wait_s}s", num_traces=4_000_000)
    config["connectors"]["disk"]["max_size"] = "20GiB"
    config["exporters"]["file"].pop("rotation")  # every kept trace is wanted for the comparison
    with Gateway(config, tmp_path) as gateway:
        sending = Sending(
            gateway.grpc, rate=rate, duration=wait_s * 1.15, senders=senders, batch=batch, cycle=100_000, in_flight=8
        )
        peak, most_open, first_decision = 0, 0.0, None
        began = time.monotonic()
        while sending.running or (first_decision is None and time.monotonic() < began + 3 * wait_s):
            peak = max(peak, gateway.rss())
            most_open = max(most_open, gateway.metric("butterfly_sampling_open_traces"))
            if first_decision is None and gateway.metric("butterfly_sampling_traces_total"):
                first_decision = time.monotonic() - sending.runner._began
            time.sleep(0.5)
        tally = sending.join()
        early = gateway.metric("butterfly_sampling_early_decisions_total")
        cpu = gateway.cpu_seconds() / (time.monotonic() - began)
        gateway.drained(within=wait_s + 60)
        peak = max(peak, gateway.rss())
        gateway.terminate()
        report = sending.report(gateway.kept_files(), wait=wait_s)
    print(
        f"\n{tally.sent:,} spans at {rate:,}/s, wait {wait_s} s: most open traces {most_open:,.0f}, "
        f"peak RSS {peak / 2**20:.0f} MiB, CPU {cpu:.1%} of a core, first decision after {first_decision} s"
    )
    print("\n".join(report.lines()))
    assert tally.acked == tally.sent
    assert early == 0
    assert first_decision is not None
    assert first_decision >= wait_s * 0.95
    assert report.holds
    return peak


def test_nothing_is_decided_early_and_memory_follows_the_open_traces(tmp_path):
    assert fill(tmp_path, wait_s=15, rate=8000) < 180 << 20


@pytest.mark.soak
@pytest.mark.timeout(2400)
def test_ten_minutes_at_ten_thousand_spans_a_second(tmp_path):
    assert fill(tmp_path, wait_s=600, rate=10_000) < 250 << 20
