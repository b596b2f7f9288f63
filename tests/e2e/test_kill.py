"""`kill -9` at random moments under load: nothing acknowledged is lost, no verdict changes, no trace splits."""

import random
import time

import pytest
from gateway_process import Gateway, quickstart
from traffic import Sending


def kill_often(tmp_path, kills, rate, seed):
    rng = random.Random(seed)
    # Longer than a restart and a sender's backoff together: a span that comes after its verdict may rightly be dropped.
    config = quickstart(tmp_path, decision_wait="8s")
    config["exporters"]["file"].pop("rotation")
    with Gateway(config, tmp_path) as gateway:
        sending = Sending(
            gateway.grpc, rate=rate, duration=3600.0, senders=4, batch=40, seed=seed, cycle=40_000, retry_for=120.0
        )
        while not gateway.metric("butterfly_sampling_traces_total"):
            time.sleep(0.1)  # kills before the first decision would meet no journal and no export
        recovery = []
        for _ in range(kills):
            time.sleep(rng.uniform(0.05, 2.5))
            gateway.kill()
            time.sleep(rng.uniform(0, 0.2))
            gateway.start(wait=False)
            recovery.append(gateway.wait_ready())
        time.sleep(1)
        sending.runner.stop()
        tally = sending.join()
        gateway.drained()
        assert gateway.metric("butterfly_leaked_acks_total") == 0
        gateway.terminate()
        report = sending.report(gateway.kept_files(), wait=8)
    print(f"\n{kills} kills, {tally.retries} retries, slowest recovery {max(recovery):.2f} s")
    print("\n".join(report.lines()))
    return report, recovery


def test_a_few_kills(tmp_path):
    report, recovery = kill_often(tmp_path, kills=5, rate=4000, seed=11)
    assert report.acked > 10_000
    assert report.holds
    assert max(recovery) < 15


@pytest.mark.soak
def test_sixty_kills(tmp_path):
    report, recovery = kill_often(tmp_path, kills=60, rate=10_000, seed=int(time.time()))
    assert report.acked > 300_000
    assert report.holds
    assert max(recovery) < 15
