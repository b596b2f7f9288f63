"""A real Kafka for a test or a bench: one broker or several, on free ports of 127.0.0.1, gone with whoever began it."""

from __future__ import annotations

import base64
import os
import shutil
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from tests.servers import build
from tests.servers.kafka_node import KafkaNode, free_ports
from tests.servers.kafka_requests import has_coordinator, metadata


class KafkaMissingError(RuntimeError):
    """There is no Kafka, or no Java, on this machine; the message says how to get it."""


def kafka_jars() -> Path:
    """The folder of Kafka's jars. Raises `KafkaMissingError`."""
    jars = build.jars("kafka")
    if not jars.exists():
        raise KafkaMissingError("Kafka is not built: python tests/servers/build.py kafka")
    if shutil.which("java") is None:
        raise KafkaMissingError("java is not installed")
    return jars


class KafkaCluster:
    """`brokers` nodes with ids from 1, each a broker and a controller, formatted and begun by `start`.

    `settings` are properties for every node and win over those made here. Blocking: in an event loop that must go on,
    call the methods through `asyncio.to_thread`.
    """

    def __init__(self, directory: Path, brokers: int = 1, *, settings: Mapping[str, str] | None = None) -> None:
        jars = kafka_jars()
        ports = free_ports(3 * brokers)
        self._formatted = False
        self._nodes = {}
        for number in range(1, brokers + 1):
            own = dict(zip(("CLIENT", "BROKER", "CONTROLLER"), ports[3 * number - 3 : 3 * number], strict=True))
            folder = directory / f"broker-{number}"
            self._nodes[number] = KafkaNode(number, folder, jars, own, 512 if brokers == 1 else 256)
        voters = ",".join(f"{each.number}@127.0.0.1:{each.ports['CONTROLLER']}" for each in self._nodes.values())
        for node in self._nodes.values():
            properties = {**_properties(node, voters, brokers), **(settings or {})}
            node.properties.write_text("".join(f"{name}={value}\n" for name, value in properties.items()))

    @property
    def bootstrap(self) -> list[str]:
        """`host:port` of every broker, in the order of their ids, running or not."""
        return [f"127.0.0.1:{node.ports['CLIENT']}" for node in self._nodes.values()]

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self, node: int | None = None, *, within: float = 30) -> None:
        """Start `node`, or all that aren't running; return when every running broker takes part and answers.

        Raises `TimeoutError` after `within` seconds, and `RuntimeError` with its last words if a broker ended.
        """
        deadline = time.monotonic() + within
        if not self._formatted:
            self._format()
        chosen = [each for each in self._chosen(node) if not each.running]
        for each in chosen:
            each.begin()
        while not self._answering():
            for each in chosen:
                if not each.running:
                    raise RuntimeError(f"broker {each.number} ended: {each.log.read_text(errors='replace')[-2000:]}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"Kafka was not ready within {within} s")
            time.sleep(0.02)

    def stop(self, node: int | None = None, *, within: float = 20) -> None:
        """End `node`, or all, in an orderly way: leaders move first, logs are flushed. Killed after `within` s."""
        chosen = self._chosen(node)
        for each in chosen:
            each.signal(signal.SIGTERM)
            each.signal(signal.SIGCONT)  # a frozen process doesn't hear
        for each in chosen:
            each.wait(within)

    def kill(self, node: int | None = None) -> None:
        """`kill -9` on `node`, or all; returns when the processes are gone."""
        chosen = self._chosen(node)
        for each in chosen:
            each.signal(signal.SIGKILL)
        for each in chosen:
            each.wait(5)

    def pause(self, node: int | None = None) -> None:
        """Freeze `node`, or all: connections stay open and nothing answers."""
        for each in self._chosen(node):
            each.signal(signal.SIGSTOP)

    def resume(self, node: int | None = None) -> None:
        """Let what `pause` froze go on; returns at once, and a node that lost its place needs a moment to rejoin."""
        for each in self._chosen(node):
            each.signal(signal.SIGCONT)

    def pid(self, node: int = 1) -> int:
        """Of a running node, for its CPU and memory."""
        return self._nodes[node].pid

    def close(self) -> None:
        """Kill every node and remove the data; the logs of the processes stay in the directory."""
        self.kill()
        for each in self._nodes.values():
            each.discard()

    def _chosen(self, node: int | None) -> list[KafkaNode]:
        return list(self._nodes.values()) if node is None else [self._nodes[node]]

    def _format(self) -> None:
        cluster = base64.urlsafe_b64encode(b"b" + os.urandom(15)).decode().rstrip("=")  # never begins with a dash
        for each in self._nodes.values():
            each.format("-t", cluster)
        self._formatted = True

    def _answering(self) -> bool:
        running = [each for each in self._nodes.values() if each.running and not each.frozen]
        wanted = {each.number for each in running}
        try:
            for each in running:
                known = metadata(each.ports["BROKER"])
                if known.controller < 0 or not known.brokers >= wanted:
                    return False
                if not has_coordinator(each.ports["BROKER"], "butterfly-tests"):
                    return False
        except OSError:
            return False
        return True


def _properties(node: KafkaNode, voters: str, brokers: int) -> dict[str, str]:
    return {
        "process.roles": "broker,controller",
        "node.id": str(node.number),
        "log.dirs": str(node.data),
        "controller.quorum.voters": voters,
        "listeners": ",".join(f"{name}://127.0.0.1:{port}" for name, port in node.ports.items()),
        "advertised.listeners": ",".join(
            f"{name}://127.0.0.1:{port}" for name, port in node.ports.items() if name != "CONTROLLER"
        ),
        "listener.security.protocol.map": "CLIENT:PLAINTEXT,BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "BROKER",
        "controller.listener.names": "CONTROLLER",
        "num.partitions": "8",
        "auto.create.topics.enable": "false",
        "log.message.timestamp.type": "LogAppendTime",
        "offsets.topic.num.partitions": "4",
        "offsets.topic.replication.factor": str(brokers),
        "transaction.state.log.replication.factor": str(brokers),
        "transaction.state.log.min.isr": "1",
        "share.coordinator.state.topic.replication.factor": str(brokers),
        "share.coordinator.state.topic.min.isr": "1",
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": "1000",
    }
