"""Every file in configs/: valid, boots as it is on other ports, says it is ready, takes a request, ends in time."""

import os
import subprocess
import urllib.request

import pytest
import yaml
from gateway_process import BUTTERFLY, ROOT, Gateway, free_port

from collector.api import Signal
from collector.export_queue.dead_letter import read
from collector.telemetry.catalogue import CATALOGUE
from collector.testing.batches import payload_of, traces_payload
from collector.wire import validate

HERE = os.environ | {"PYTHONPATH": str(ROOT)}
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
IN_MEMORY = "'tail_sampling' is not behind a durable connector: undecided traces are lost on a crash"
WARNINGS = {"in-memory.yaml": [IN_MEMORY]}
"""What `validate` warns of, on purpose, by file."""


def relocated(path, folder, broker):
    """The file's configuration on free ports, its files in `folder`, its backend a port where nobody listens. `broker`
    gives a Kafka, for the file that needs one."""
    config = yaml.safe_load(path.read_text())
    if "kafka" in config.get("connectors", {}):
        kafka = config["connectors"]["kafka"]
        kafka["brokers"] = broker().bootstrap
        kafka |= {signal: {"topic": f"configs.{signal}"} for signal in ("traces", "metrics", "logs")}
        kafka |= {"group_id": "configs", "group_instance_id": ""}
        kafka |= {"decisions_topic": "configs.decisions", "quarantine_topic": "configs.quarantine"}
    for protocol in config["receivers"]["otlp"]["protocols"].values():
        protocol["endpoint"] = f"127.0.0.1:{free_port()}"
    for id_, exporter in config["exporters"].items():
        if id_.partition("/")[0] == "file":
            exporter["path"] = str(folder / f"{id_.partition('/')[2] or 'kept'}.jsonl")
        else:
            exporter["endpoint"] = f"127.0.0.1:{free_port()}"
    config["service"]["data_dir"] = str(folder / "data")
    config["service"].setdefault("telemetry", {})["metrics"] = {"address": f"127.0.0.1:{free_port()}"}
    return config


def test_there_are_some():
    assert {path.name for path in CONFIGS} >= {
        "quickstart.yaml",
        "otlp-backend.yaml",
        "jaeger.yaml",
        "in-memory.yaml",
        "gateway-kafka.yaml",
        "gateway.yaml",
    }
    assert set(WARNINGS) <= {path.name for path in CONFIGS}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_it_is_valid_and_every_warning_is_known(path, tmp_path):
    done = subprocess.run(
        [*BUTTERFLY, "validate", "--strict", "-c", str(path)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name not in ("BACKEND", "JAEGER")}
        | {"PYTHONPATH": str(ROOT)},
        timeout=30,
        check=False,
    )
    told = [line.split(": ", 3)[3] for line in done.stderr.splitlines()]
    assert told == WARNINGS.get(path.name, [])
    assert done.returncode == (1 if told else 0)
    assert not list(tmp_path.iterdir())  # nothing was opened


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_it_boots_takes_a_request_and_ends_in_time(path, tmp_path, request):
    config = relocated(path, tmp_path, lambda: request.getfixturevalue("kafka"))
    made = tmp_path / "made.yaml"
    made.write_text(yaml.safe_dump(config))
    if "kafka" in config.get("connectors", {}):
        subprocess.run([*BUTTERFLY, "kafka", "init", "-c", str(made)], check=True, env=HERE, timeout=60)
    with Gateway(config, tmp_path) as gateway:
        assert gateway.answer("/readyz") == (200, "ok\n")
        signals = {name.partition("/")[0] for name in config["service"]["pipelines"]}
        for signal in signals:
            payload = payload_of(Signal(signal))
            headers = {"content-type": "application/x-protobuf"}
            export = urllib.request.Request(f"http://{gateway.http}/v1/{signal}", payload, headers)
            with urllib.request.urlopen(export, timeout=10) as reply:
                assert (reply.status, reply.read()) == (200, b"")
        assert gateway.metric("butterfly_receiver_requests_total", outcome="ok") == len(signals)
        exposed(gateway)
        gateway.terminate()
        assert "Traceback" not in gateway.log.read_text()


def exposed(gateway):
    """Every metric that the running gateway shows is in the catalogue, as it is there."""
    lines = gateway.metrics().splitlines()
    families = [line.split()[2:] for line in lines if line.startswith("# TYPE ")]
    assert len(families) > 25
    for name, kind in families:
        assert name in CATALOGUE, f"{name} is not in the catalogue"
        assert CATALOGUE[name].kind == kind
    about = [line.split(" ", 3)[2:] for line in lines if line.startswith("# HELP ")]
    assert len(about) == len(families)
    assert all(CATALOGUE[name].about == text for name, text in about)


def test_without_a_disk_a_stop_with_the_backend_away_ends_in_time(tmp_path):
    """Undecided traces are decided at the stop, and what no backend takes by then is in the dead letter."""
    config = relocated(ROOT / "configs" / "in-memory.yaml", tmp_path, None)
    config["exporters"] = {"otlp": {"endpoint": f"127.0.0.1:{free_port()}", "tls": {"insecure": True}}}
    config["service"]["pipelines"]["traces"]["exporters"] = ["otlp"]
    with Gateway(config, tmp_path) as gateway:
        request = urllib.request.Request(
            f"http://{gateway.http}/v1/traces", traces_payload(200), {"content-type": "application/x-protobuf"}
        )
        with urllib.request.urlopen(request, timeout=10) as reply:
            assert reply.status == 200
        assert gateway.metric("butterfly_held_items") == 200
        took = gateway.terminate(within=9.0)
    print(f"\nended after {took:.2f} s")
    letters = list(read(tmp_path / "data" / "dead-letter"))
    assert {letter.reason.partition(":")[0] for letter in letters} == {"shutdown"}
    # Every trace of the sample has an error, so all of them were kept.
    assert sum(letter.items for letter in letters) == sum(validate(letter.payload).count for letter in letters) == 200
