"""Ingest and sampling with a real Kafka between them, as one process and as two tiers, against the ground truth."""

import pytest
from kafka_tiers import INGEST, SAMPLE, Load, Tiers


@pytest.mark.parametrize("tiers", [1, 2], ids=["one process", "two tiers"])
def test_must_keep_traces_are_kept_whole_and_the_rest_at_one_in_ten(tmp_path, kafka, tiers):
    with Tiers(tmp_path, kafka.bootstrap, decision_wait="2s") as gateways:
        if tiers == 1:
            ingest = samplers = [gateways.member("all")]
        else:
            ingest = [gateways.member("ingest-1", INGEST), gateways.member("ingest-2", INGEST)]
            samplers = [gateways.member("sampler-1", SAMPLE), gateways.member("sampler-2", SAMPLE)]
        gateways.make_topics()
        gateways.start()
        gateways.recovery()
        load = Load(ingest, rate=6000)
        gateways.until(lambda: load.sent > 24_000, "sent")
        load.stop()
        gateways.drained()
        accepted = sum(each.metric("butterfly_accepted_items_total", pipeline=INGEST) for each in ingest)
        filtered = sum(each.metric("butterfly_filtered_items_total", pipeline=SAMPLE) for each in samplers)
        delivered = sum(each.metric("butterfly_delivered_items_total", pipeline=SAMPLE) for each in samplers)
        gateways.finish()
        report = load.report(gateways.kept_files(), wait=2)
    print("\n" + load.told(report))
    assert (load.retries, report.refused, report.unknown) == (0, 0, 0)
    assert accepted == filtered + delivered == report.sent  # the ledger, seen from outside
    assert report.must_keep_traces > 100
    assert report.holds
    assert report.duplicates == 0
