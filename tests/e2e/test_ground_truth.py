"""The quickstart configuration against the generator's ground truth."""

import time

from gateway_process import Gateway, quickstart
from traffic import Sending


def test_must_keep_traces_are_kept_whole_and_the_rest_at_one_in_ten(tmp_path):
    with Gateway(quickstart(tmp_path, decision_wait="3s"), tmp_path) as gateway:
        sending = Sending(gateway.grpc, rate=8000, duration=8.0, batch=80, senders=6)
        tally = sending.join()
        assert (tally.refused, tally.unknown, tally.rejected) == (0, 0, 0)
        gateway.drained()
        accepted = gateway.metric("butterfly_accepted_items_total", pipeline="traces/ingest")
        assert accepted == tally.sent
        decided = gateway.metric("butterfly_filtered_items_total", pipeline="traces/sample")
        delivered = gateway.metric("butterfly_delivered_items_total", pipeline="traces/sample")
        assert decided + delivered == tally.sent  # the ledger, seen from outside
        assert gateway.metric("butterfly_leaked_acks_total") == 0
        gateway.terminate()
        report = sending.report(gateway.kept_files(), wait=3)
    print("\n" + "\n".join(report.lines()))
    assert report.must_keep_traces > 100
    assert report.holds
    assert report.duplicates == 0


def test_http_senders_are_served_alike(tmp_path):
    with Gateway(quickstart(tmp_path, decision_wait="1s"), tmp_path) as gateway:
        sending = Sending(gateway.http, protocol="http", rate=2000, duration=3.0, batch=100, senders=3)
        tally = sending.join()
        assert tally.acked == tally.sent
        gateway.drained()
        gateway.terminate()
        assert sending.report(gateway.kept_files(), wait=1).nothing_lost


def test_late_spans_follow_the_verdict_also_after_a_restart(tmp_path):
    from bench.generator.traces import Mix

    mix = Mix(very_late=0.05)
    # Longer than the restart: what a sender keeps meanwhile must not come late.
    with Gateway(quickstart(tmp_path, decision_wait="4s"), tmp_path) as gateway:
        # So many spans and not so many seconds: the late ones stand at the end, which a slow restart must not cut off.
        sending = Sending(gateway.grpc, rate=3000, duration=60.0, spans=18_000, senders=3, mix=mix, late_by=9.0)
        while sending.runner.tally.sent < 9000:
            assert sending.running
            time.sleep(0.05)
        gateway.terminate()
        gateway.start()
        sending.join()
        gateway.drained()
        assert gateway.metric("butterfly_sampling_late_spans_total") > 0
        gateway.terminate()
        report = sending.report(gateway.kept_files(), wait=4)
    print("\n" + "\n".join(report.lines()))
    assert report.nothing_lost
