"""Personal data is planted everywhere, ingest and sampling run with Kafka between them, and the brokers' files are
searched."""

import asyncio
import secrets

import pytest
import yaml
from aiokafka import AIOKafkaProducer
from canary import Canaries
from canary_requests import Senders
from canary_search import Search
from kafka_tiers import INGEST, SAMPLE, Tiers

from tests.servers.kafka_cluster import KafkaCluster

PEPPER = "this pepper is itself a secret that nobody may see"
EVERYTHING = {"name": "all", "type": "always_sample"}


@pytest.fixture(scope="module")
def broker(kafka_here, tmp_path_factory):
    """A broker whose files can be read: (cluster, folder)."""
    folder = tmp_path_factory.mktemp("broker")
    with KafkaCluster(folder) as cluster:
        yield cluster, folder


def member(tiers, name, *pipelines, scrubbing):
    gateway = tiers.member(name, *pipelines)
    gateway.config["service"]["telemetry"]["logs"] = {"level": "debug"}
    gateway.config["exporters"]["debug"] = {"verbosity": "detailed"}
    gateway.config["service"]["pipelines"][SAMPLE]["exporters"] = ["file", "debug"]
    if not scrubbing:
        gateway.config["service"]["pipelines"][INGEST]["processors"].remove("pii_scrubber")
    gateway.file.write_text(yaml.safe_dump(gateway.config))
    return gateway


async def put(brokers, topic, value):
    """A record from somebody else."""
    async with AIOKafkaProducer(bootstrap_servers=brokers) as producer:
        await producer.send_and_wait(topic, value, partition=0)


@pytest.mark.parametrize("scrubbing", [True, False], ids=["scrubbed", "not scrubbed"])
def test_nothing_that_was_planted_is_in_the_brokers_files(tmp_path, monkeypatch, broker, scrubbing):
    monkeypatch.setenv("BUTTERFLY_PEPPER", PEPPER)
    cluster, folder = broker
    canaries = Canaries(5 + scrubbing)  # of its own: the broker is the same
    garbage = b"\xff" + secrets.token_bytes(24)
    plain = {"producer": {"compression": "none"}}
    with Tiers(tmp_path, cluster.bootstrap, kafka=plain, decision_wait="1s", policies=[EVERYTHING]) as tiers:
        ingest = member(tiers, "ingest", INGEST, scrubbing=scrubbing)
        sampler = member(tiers, "sampler", SAMPLE, scrubbing=scrubbing)
        tiers.make_topics()
        tiers.start()
        senders = Senders(ingest.grpc, ingest.http, ingest.admin.removeprefix("http://"))
        planted = canaries.request("traces", mark=0x11, copies=1).SerializeToString()
        senders.good(planted)
        sampler.kill()  # wherever it is with these; what comes from now on is another life's
        senders.good(planted)
        asyncio.run(put(tiers.brokers, tiers.topic, garbage))
        tiers.start("sampler")
        tiers.drained()
        assert sampler.metric("butterfly_delivered_items_total") > 0
        assert sampler.metric("butterfly_log_quarantined_records_total") == 1
        tiers.finish()
    search = Search(canaries.parts)
    files = {
        "segments": folder.glob(f"broker-1/data/{tiers.topic}-*/*.log"),
        "quarantine": folder.glob("broker-1/data/*-quarantine-*/*.log"),
        "broker": (each for each in folder.rglob("*.log") if tiers.topic not in each.parent.name),
        "sampler's log": [sampler.log],
        "sampler's file": sampler.kept_files(),
        "ingest": (each for each in ingest.folder.rglob("*") if each != ingest.file),
    }
    read = {
        name: b"\n".join(each.read_bytes() for each in each_of if each.is_file()) for name, each_of in files.items()
    }
    found = {name: search(data) for name, data in read.items()}
    print({name: (len(hits), len(read[name])) for name, hits in found.items()})
    assert garbage in read["quarantine"]
    if scrubbing:
        assert {name: hits for name, hits in found.items() if hits} == {}
    else:
        reached = ("segments", "sampler's log", "sampler's file")
        everything = set(canaries.parts.values())
        assert {name: everything - found[name] for name in reached} == {name: set() for name in reached}
        assert found["broker"] == found["quarantine"] == found["ingest"] == set()
