"""What goes wrong around the gateway: an absent backend, a full disk, a port in use, wrong YAML, SIGTERM, a reload."""

import os
import shutil
import signal
import subprocess
import time

import pytest
import yaml
from gateway_process import BUTTERFLY, ROOT, Gateway, free_port, quickstart
from traffic import Sending

READY = "ready: traces"


def to_backend(tmp_path, **tail_sampling):
    """The quickstart configuration, with an OTLP backend on a port where nobody listens yet."""
    config = quickstart(tmp_path, **tail_sampling)
    endpoint = f"127.0.0.1:{free_port()}"
    config["exporters"] = {
        "otlp": {
            "endpoint": endpoint,
            "tls": {"insecure": True},
            "retry_on_failure": {"initial_interval": "100ms", "max_interval": "500ms"},
        }
    }
    config["service"]["pipelines"]["traces/sample"]["exporters"] = ["otlp"]
    return config, endpoint


def test_an_absent_backend_costs_nothing_but_disk(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    config, endpoint = to_backend(tmp_path / "a", decision_wait="1s")
    sink = quickstart(tmp_path / "b")
    sink["receivers"]["otlp"]["protocols"]["grpc"]["endpoint"] = endpoint
    sink["service"]["pipelines"] = {"traces": {"receivers": ["otlp"], "exporters": ["file"]}}
    del sink["processors"], sink["connectors"]
    with Gateway(config, tmp_path / "a") as gateway:
        sending = Sending(gateway.grpc, rate=3000, duration=5.0, senders=3)
        tally = sending.join()
        assert tally.acked == tally.sent
        assert gateway.answer("/readyz")[0] == 200  # the log takes work in; the backend is the queue's affair
        gateway.kill()
        gateway.start()
        with Gateway(sink, tmp_path / "b") as backend:
            gateway.drained()
            gateway.terminate()
            backend.drained()
            backend.terminate()
            report = sending.report(backend.kept_files(), wait=1)
    assert report.holds


def test_sigterm_under_load_ends_in_time_and_loses_nothing(tmp_path):
    with Gateway(quickstart(tmp_path, decision_wait="4s"), tmp_path) as gateway:
        sending = Sending(gateway.grpc, rate=6000, duration=60.0, senders=4, retry_for=60.0)
        time.sleep(3)
        took = gateway.terminate(within=9.0)
        gateway.start()
        time.sleep(2)
        sending.runner.stop()
        sending.join()
        gateway.drained()
        gateway.terminate()
        report = sending.report(gateway.kept_files(), wait=4)
    print(f"\nended after {took:.2f} s")
    assert report.holds


def until_said(gateway, words, times=1, within=20.0):
    """Wait until the gateway's log has these words so often."""
    give_up = time.monotonic() + within
    while gateway.log.read_text().count(words) < times:
        assert time.monotonic() < give_up, gateway.log.read_text()
        time.sleep(0.05)


def test_a_reload_swaps_a_good_file_in_and_leaves_the_running_one_for_a_bad_one(tmp_path):
    config = quickstart(tmp_path, decision_wait="3s")
    with Gateway(config, tmp_path) as gateway:
        sending = Sending(gateway.grpc, rate=2000, duration=60.0, senders=2, retry_for=60.0)
        time.sleep(1)
        gateway.file.write_text("receivers: {otlp: {protocolls: }}\n")
        os.kill(gateway.pid, signal.SIGHUP)
        until_said(gateway, "protocolls")
        assert gateway.answer("/readyz")[0] == 200
        config["processors"]["tail_sampling"]["decision_wait"] = "1s"
        gateway.file.write_text(yaml.safe_dump(config))
        os.kill(gateway.pid, signal.SIGHUP)
        until_said(gateway, READY, 2)
        gateway.wait_ready()
        time.sleep(2)
        sending.runner.stop()
        sending.join()
        gateway.drained()
        gateway.terminate()
        assert sending.report(gateway.kept_files(), wait=1).holds


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("mount") is None, reason="needs root to mount a small disk")
def test_a_full_disk_refuses_and_resumes_without_a_restart(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(disk)], check=False).returncode:
        pytest.skip("mounting isn't allowed here")
    try:
        # The wait is longer than the disk stays full: no span that was refused meanwhile comes after its verdict.
        config = quickstart(tmp_path, decision_wait="8s")
        config["connectors"]["disk"].update(directory=str(disk / "log"), segment_size="2MiB", compression="none")
        (disk / "ballast").write_bytes(b"\0" * (19 << 20))
        with Gateway(config, tmp_path) as gateway:
            sending = Sending(gateway.grpc, rate=3000, duration=12.0, senders=3, batch=100, retry_for=60.0)
            while not gateway.metric("butterfly_log_refused_total"):
                assert sending.running, "the disk never filled up"
                time.sleep(0.1)
            assert gateway.answer("/livez")[0] == 200
            (disk / "ballast").unlink()
            tally = sending.join()
            gateway.drained()
            gateway.terminate()
            report = sending.report(gateway.kept_files(), wait=8)
        print(f"\n{tally.retries} retries")
        print("\n".join(report.lines()))
        assert tally.retries > 0
        assert report.holds
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_port_in_use_is_said_and_ends_the_start(tmp_path):
    config = quickstart(tmp_path)
    other = quickstart(tmp_path)
    other["receivers"] = config["receivers"]
    (tmp_path / "other").mkdir()
    other["service"]["data_dir"] = str(tmp_path / "other" / "data")
    with Gateway(config, tmp_path) as first:
        second = Gateway(other, tmp_path / "other")
        second.start(wait=False)
        assert second.process.wait(20) == 1
        assert first.grpc in second.log.read_text()
        assert "Traceback" not in second.log.read_text()


def test_every_mistake_of_a_wrong_yaml_is_told_at_once(tmp_path):
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(
        "receivers:\n  otlp:\n    protocols:\n      grpc: {endpoint: 'localhost:4317', thread: 3}\n"
        "exporters:\n  file: {path: out.jsonl}\n  debug: {verbosity: loud}\n"
        "service:\n  pipelines:\n    traces: {receivers: [otlp], processors: [tail], exporters: [file]}\n"
    )
    done = subprocess.run(
        [*BUTTERFLY, "run", "-c", str(wrong)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        timeout=30,
        check=False,
    )
    assert done.returncode == 2
    assert "wrong.yaml:4:" in done.stderr
    assert "thread" in done.stderr
    assert "wrong.yaml:7:" in done.stderr
    assert "loud" in done.stderr
    assert "wrong.yaml:10:" in done.stderr
    assert "Traceback" not in done.stderr
