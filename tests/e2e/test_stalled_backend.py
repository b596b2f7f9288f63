"""A backend that is away for long, beside one that is well: a pipeline for each of them on one log keeps them apart."""

import time

from gateway_process import Gateway, free_port, quickstart
from traffic import Sending


def until(holds, within=30.0):
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < within
        time.sleep(0.05)


def two_readers(tmp_path, endpoint):
    """Two pipelines read the log, one into a file, one to `endpoint`, whose queue holds next to nothing."""
    config = quickstart(tmp_path)
    config["processors"] = {}
    config["exporters"]["file"].pop("rotation")
    config["exporters"]["otlp"] = {
        "endpoint": endpoint,
        "tls": {"insecure": True},
        "sending_queue": {"queue_size": "64KiB"},
        "retry_on_failure": {"initial_interval": "100ms", "max_interval": "500ms"},
    }
    config["service"]["pipelines"] = {
        "traces/ingest": {"receivers": ["otlp"], "exporters": ["disk"]},
        "traces/well": {"receivers": ["disk"], "exporters": ["file"]},
        "traces/away": {"receivers": ["disk"], "exporters": ["otlp"]},
    }
    return config


def test_a_backend_that_is_away_holds_up_no_other_pipeline(tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    endpoint = f"127.0.0.1:{free_port()}"
    backend_config = quickstart(there)
    backend_config["receivers"]["otlp"]["protocols"]["grpc"]["endpoint"] = endpoint
    backend_config["service"]["pipelines"] = {"traces": {"receivers": ["otlp"], "exporters": ["file"]}}
    del backend_config["processors"], backend_config["connectors"]
    with Gateway(two_readers(here, endpoint), here) as gateway:

        def items(what, pipeline):
            return gateway.metric(f"butterfly_{what}_items_total", pipeline=pipeline)

        sending = Sending(gateway.grpc, rate=3000, duration=4.0, senders=2, cycle=12_000)
        behind = []
        while sending.running:
            time.sleep(0.2)
            behind.append(items("accepted", "traces/ingest") - items("delivered", "traces/well"))
        tally = sending.join()
        assert tally.acked == tally.sent
        until(lambda: items("delivered", "traces/well") == tally.acked)
        assert max(behind) < tally.acked / 2, "it follows the senders, and doesn't wait for their end"
        assert items("delivered", "traces/away") == 0
        assert gateway.metric("butterfly_held_items", pipeline="traces/away") < tally.acked / 2, "the log has the rest"
        assert gateway.answer("/readyz")[0] == 200
        with Gateway(backend_config, there) as backend:
            until(lambda: items("delivered", "traces/away") == tally.acked)
            gateway.terminate()
            backend.drained()
            backend.terminate()
            for one in (gateway, backend):
                assert sending.report(one.kept_files(), wait=None, keep_share=1.0).nothing_lost
