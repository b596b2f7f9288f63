"""`configs/gateway-kafka.yaml` as a black box: processes that run one half of it or both, and traffic for them."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import subprocess
import time
from dataclasses import fields
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
import yaml
from aiokafka import AIOKafkaConsumer, TopicPartition
from gateway_process import BUTTERFLY, ROOT, Gateway
from traffic import Sending

from bench.ledger import SentSpans
from bench.truth import Report, Truth, compare, read_sink
from tests.servers.process import free_ports

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

PARTITIONS = 8
INGEST, SAMPLE = "traces/ingest", "traces/sample"
BY_THE_MOMENT = {"name": "ordinary", "type": "rate_limiting", "rate_limiting": {"spans_per_second": 40}}
"""Instead of the one in ten that a trace's id decides: a trace that is decided twice hardly gets the same verdict."""

_SAMPLE = re.compile(r'(butterfly_log_\w+)\{.*partition="([^"]+)".*\} (\S+)')


class Place(NamedTuple):
    """Where a sampler is in one partition."""

    end: float
    head: float
    committed: float
    lag: float


class Tiers:
    """Processes that share topics and a consumer group of their own. Use as a context manager: it kills what runs.

    `kafka` are options of the connector, `tail_sampling` of the sampler; `ordinary` replaces the policy of that name.
    Only the pipelines of `signals` are there. `followers` are options of those that go by verdicts.
    """

    def __init__(
        self,
        folder: Path,
        brokers: Sequence[str],
        *,
        session: str = "2s",
        kafka: dict[str, Any] | None = None,
        ordinary: dict[str, Any] | None = None,
        signals: Sequence[str] = ("traces",),
        followers: dict[str, Any] | None = None,
        **tail_sampling: Any,
    ) -> None:
        self.folder = folder
        self.brokers = list(brokers)
        self.members: dict[str, Gateway] = {}
        self._config = yaml.safe_load((ROOT / "configs" / "gateway-kafka.yaml").read_text())
        pipelines = self._config["service"]["pipelines"]
        for name in [each for each in pipelines if each.partition("/")[0] not in signals]:
            del pipelines[name]
        self._exports = {name: "file" if name == SAMPLE else f"file/{name.partition('/')[0]}" for name in pipelines}
        mark = f"tiers-{secrets.token_hex(4)}"
        self.topic = f"{mark}-spans"
        self.followed = [f"{mark}-{each}" for each in ("points", "records") if len(signals) > 1]
        self._config["connectors"]["kafka"] |= {
            "brokers": self.brokers,
            "group_id": mark,
            "session_timeout": session,
            "heartbeat_interval": "400ms",
            "traces": {"topic": self.topic},
            "metrics": {"topic": f"{mark}-points"},
            "logs": {"topic": f"{mark}-records"},
            "decisions_topic": f"{mark}-decisions",
            "quarantine_topic": f"{mark}-quarantine",
            **(kafka or {}),
        }
        self._config["processors"]["tail_sampling"] |= tail_sampling
        for each in ("exemplar_linker", "log_sampling"):
            self._config["processors"][each] |= followers or {}
        if ordinary is not None:
            policies = self._config["processors"]["tail_sampling"]["policies"]
            policies[:] = [ordinary if each["name"] == "ordinary" else each for each in policies]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for member in self.members.values():
            member.kill()

    def member(self, name: str, *pipelines: str, instance: str = "") -> Gateway:
        """A process that isn't started yet; all pipelines without any named."""
        folder = self.folder / name
        folder.mkdir()
        grpc, http, admin = (f"127.0.0.1:{port}" for port in free_ports(3))
        config = yaml.safe_load(yaml.safe_dump(self._config))
        config["receivers"]["otlp"]["protocols"] = {"grpc": {"endpoint": grpc}, "http": {"endpoint": http}}
        config["connectors"]["kafka"]["group_instance_id"] = instance
        config["exporters"] = {"file": {"path": str(folder / "kept.jsonl")}}
        for pipeline, exporter in self._exports.items():
            if config["service"]["pipelines"][pipeline]["exporters"] != ["kafka"]:
                config["service"]["pipelines"][pipeline]["exporters"] = [exporter]
                if exporter != "file":
                    config["exporters"][exporter] = {"path": str(folder / f"{exporter.partition('/')[2]}.jsonl")}
        config["service"]["data_dir"] = str(folder / "data")
        config["service"]["telemetry"] = {"metrics": {"address": admin}}
        chosen = ("--pipelines", ",".join(pipelines)) if pipelines else ()
        self.members[name] = Gateway(config, folder, *chosen)
        return self.members[name]

    def start(self, *names: str) -> None:
        """Start these, or all that there are, and wait until they are ready."""
        chosen = [self.members[name] for name in names or self.members]
        for each in chosen:
            each.start(wait=False)
        for each in chosen:
            each.wait_ready()

    def make_topics(self) -> None:
        """`butterfly kafka init`, with the file of any member."""
        file = next(iter(self.members.values())).file
        done = subprocess.run(
            [*BUTTERFLY, "kafka", "init", "-c", str(file)],
            capture_output=True,
            text=True,
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    # -- what the samplers say of themselves

    def places(self, *names: str) -> dict[str, Place]:
        """By partition, what the running members (or these) work through."""
        found: dict[str, dict[str, float]] = {}
        for name in names or self.running():
            # Who is asked for by name has to answer; of the others some may be starting.
            page = self.members[name].metrics() if names else self.members[name].get("/metrics")[1]
            for line in page.splitlines():
                match = _SAMPLE.fullmatch(line)
                if match:
                    found.setdefault(match[2], {})[match[1].removeprefix("butterfly_log_")] = float(match[3])
        wanted = ("end", "head", "committed", "lag_seconds")
        return {
            partition: Place(*(values[each] for each in wanted))
            for partition, values in found.items()
            if values.keys() >= set(wanted)
        }

    def kept_up_with(self) -> bool:
        """Every partition has one sampler, which has read nearly all and settled something less than 2 s ago."""
        owned = [self.places(name) for name in self.running()]
        places = [place for each in owned for place in each.values()]
        return len(places) == PARTITIONS and all(each.lag < 2 and each.end - each.head < 50 for each in places)

    def running(self) -> list[str]:
        """The members whose process is there."""
        return [name for name, each in self.members.items() if each.process is not None and each.process.poll() is None]

    def recovery(self, within: float = 25.0) -> float:
        """Seconds until every running member is ready and every partition is kept up with.

        Not for a load that is younger than the decision_wait: nothing of it is settled yet. See `caught_up`.
        """
        began = time.monotonic()

        def recovered() -> bool:
            return all(self.members[name].get("/readyz")[0] == 200 for name in self.running()) and self.kept_up_with()

        self.until(recovered, "recovered", within)
        return time.monotonic() - began

    def drained(self, within: float = 40.0) -> None:
        """Wait until everything that the brokers hold is settled, by one member for each partition."""
        ends = self.ends()
        for topic in self.followed:
            ends |= self.ends(topic)

        def done() -> bool:
            return {partition: place.committed for partition, place in self.places().items()} == ends

        self.until(done, "drained", within)

    def caught_up(self, within: float = 25.0) -> None:
        """Wait until the samplers have read everything that the brokers hold now."""
        ends = self.ends()

        def read() -> bool:
            places = self.places()
            return places.keys() == ends.keys() and all(places[each].head >= end for each, end in ends.items())

        self.until(read, "caught up", within)

    def ends(self, topic: str = "") -> dict[str, float]:
        """The offset after the newest record of each partition, from the brokers themselves; of the traces."""
        return asyncio.run(_ends(self.brokers, topic or self.topic))

    def until(self, true: Callable[[], bool], what: str, within: float = 20.0) -> None:
        """Poll; raises with the logs of all members when it doesn't come true."""
        deadline = time.monotonic() + within
        while not true():
            assert time.monotonic() < deadline, f"not {what} within {within} s: {self.places()}\n{self.logs()}"
            time.sleep(0.05)

    def logs(self) -> str:
        """The last lines of every member's log."""
        return "\n".join(f"-- {name}\n{each.log.read_text()[-3000:]}" for name, each in self.members.items())

    # -- the end

    def finish(self, within: float = 40.0) -> None:
        """Wait until all is settled, and end everything in an orderly way."""
        self.drained(within)
        for name in self.running():
            assert self.members[name].metric("butterfly_leaked_acks_total") == 0
            self.members[name].terminate()
        for each in self.members.values():
            assert "Traceback" not in each.log.read_text(), each.log.read_text()

    def kept_files(self) -> tuple[Path, ...]:
        """What all members wrote."""
        return tuple(path for each in self.members.values() for path in each.kept_files())


class Load:
    """One `Sending` to each of the ingest processes, with traces of its own, so that one's death stops one of them."""

    def __init__(self, ingest: Iterable[Gateway], *, rate: float, seed: int = 1, retry_for: float = 120.0) -> None:
        endpoints = [each.grpc for each in ingest]
        share = rate / len(endpoints)
        self.sendings = [
            Sending(
                endpoint,
                rate=share,
                duration=3600.0,
                senders=3,
                batch=max(40, int(share / 100)),
                in_flight=8,
                cycle=8000,
                seed=seed + number,
                retry_for=retry_for,
            )
            for number, endpoint in enumerate(endpoints)
        ]

    @property
    def sent(self) -> int:
        """Spans so far."""
        return sum(each.runner.tally.sent for each in self.sendings)

    @property
    def acked(self) -> int:
        """Spans of them that are acknowledged."""
        return sum(each.runner.tally.acked for each in self.sendings)

    def stop(self) -> None:
        """Send nothing new, and wait until everything is answered."""
        for each in self.sendings:
            each.runner.stop()
        for each in self.sendings:
            each.join()

    @property
    def retries(self) -> int:
        return sum(each.runner.tally.retries for each in self.sendings)

    def ack_p99(self) -> float:
        """Seconds, of the slowest of the sendings."""
        return max(each.runner.tally.acks.quantile(0.99) for each in self.sendings)

    def statuses(self) -> set[str]:
        """Everything that a sender was told beside yes."""
        return {status for each in self.sendings for status in each.runner.tally.statuses}

    def report(self, sink: tuple[Path, ...], *, wait: float, keep_share: float = 0.1) -> Report:
        """What all of them sent, against what arrived anywhere. `wait`: seconds that the samplers wait."""
        sent = [each.sent(wait) for each in self.sendings]
        columns = {each.name: np.concatenate([getattr(part, each.name) for part in sent]) for each in fields(SentSpans)}
        slow_over = self.sendings[0].traffic.shape.mix.slow_over
        truth = Truth(SentSpans(**columns), slow_over=slow_over)
        assert truth.must_keep.any(), "there is nothing to lose"
        return compare(truth, read_sink(sink), keep_share=keep_share)

    def told(self, report: Report) -> str:
        """For the test's output."""
        verdict = "nothing lost" if report.nothing_lost else "SOMETHING IS LOST"
        acks = f"{self.retries} retries, ack p99 {self.ack_p99() * 1000:.0f} ms"
        return "\n".join([acks, *report.lines()[:-1], verdict])


async def _ends(brokers: Sequence[str], topic: str) -> dict[str, float]:
    async with AIOKafkaConsumer(bootstrap_servers=list(brokers)) as consumer:
        found = await consumer.end_offsets([TopicPartition(topic, number) for number in range(PARTITIONS)])
    return {f"{topic}/{tp.partition}": float(end) for tp, end in found.items()}
