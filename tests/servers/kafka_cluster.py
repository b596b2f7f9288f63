"""A real Kafka for a test or a bench: one broker or several, on free ports of 127.0.0.1, gone with whoever began it."""

from __future__ import annotations

import base64
import os
import shutil
import signal
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

from tests.servers import build
from tests.servers.kafka_node import KafkaNode
from tests.servers.kafka_requests import Acl, create_acl, delete_acls, every_acl_of, has_acl, has_coordinator, metadata
from tests.servers.kafka_security import (
    Certificates,
    authorizer_properties,
    make_certificates,
    protocol,
    sasl_properties,
    scram_arguments,
    tls_properties,
)
from tests.servers.process import free_ports

_PROTOCOLS = "CLIENT:{},BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT"


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

    `sasl` (user: password, letters and digits) makes clients log in, with PLAIN or SCRAM; `tls` gives the brokers a
    certificate (see `certificates`); with `authorizer`, who logged in may do what `allow` names and nothing else. All
    of that stands on the clients' listener alone. `settings` are properties for every node and win over those made
    here, as `jvm` does over Java's options.

    Every method blocks: in an event loop that must go on, call it through `asyncio.to_thread`. Raises
    `KafkaMissingError`.
    """

    certificates: Certificates | None = None

    def __init__(
        self,
        directory: Path,
        brokers: int = 1,
        *,
        sasl: Mapping[str, str] | None = None,
        tls: bool = False,
        authorizer: bool = False,
        settings: Mapping[str, str] | None = None,
        jvm: Sequence[str] = (),
    ) -> None:
        if authorizer and not sasl:
            raise ValueError("an authorizer needs users, so sasl")
        jars = kafka_jars()
        ports = free_ports(3 * brokers)
        heap = "-Xmx512m" if brokers == 1 else "-Xmx256m"
        security = {"listener.security.protocol.map": _PROTOCOLS.format(protocol(sasl=bool(sasl), tls=tls))}
        if sasl:
            security |= sasl_properties(sasl)
        if tls:
            self.certificates = make_certificates(directory / "tls")
            security |= tls_properties(self.certificates)
        if authorizer:
            security |= authorizer_properties()
        self._format_arguments = scram_arguments(sasl or {})
        self._formatted = False
        self._nodes = {}
        for number in range(1, brokers + 1):
            own = dict(zip(("CLIENT", "BROKER", "CONTROLLER"), ports[3 * number - 3 : 3 * number], strict=True))
            folder = directory / f"broker-{number}"
            self._nodes[number] = KafkaNode(number, folder, jars, own, [heap, *jvm])
        voters = ",".join(f"{each.number}@127.0.0.1:{each.ports['CONTROLLER']}" for each in self._nodes.values())
        for node in self._nodes.values():
            properties = {**_properties(node, voters, brokers), **security, **(settings or {})}
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

    def start(self, node: int | None = None, *, within: float = 60) -> None:
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

    def allow(self, user: str, operation: str, resource: str, name: str = "*") -> None:
        """Let `user` do `operation` ("read", "write", "describe", "create", "all", ...) on a "topic" or "group".

        "*" is every name; the resource "cluster" has the name "kafka-cluster". In force when this returns.
        """
        self._rule(Acl(user, operation, resource, name, allow=True))

    def deny(self, user: str, operation: str, resource: str, name: str = "*") -> None:
        """Forbid it, whatever else allows it; as `allow`."""
        self._rule(Acl(user, operation, resource, name, allow=False))

    def forget(self, user: str) -> None:
        """Take back everything that was allowed or forbidden to `user`. In force when this returns."""
        delete_acls(self._awake()[0].ports["BROKER"], every_acl_of(user))
        self._until_rules(every_acl_of(user), present=False)

    def running(self) -> list[int]:
        """The ids of the nodes whose process is there, frozen or not."""
        return [each.number for each in self._nodes.values() if each.running]

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

    def _awake(self) -> list[KafkaNode]:
        return [each for each in self._nodes.values() if each.running and not each.frozen]

    def _rule(self, acl: Acl) -> None:
        create_acl(self._awake()[0].ports["BROKER"], acl)
        self._until_rules(acl.encode(), present=True)

    def _until_rules(self, wanted: bytes, *, present: bool, within: float = 10) -> None:
        deadline = time.monotonic() + within
        for each in self._awake():
            while has_acl(each.ports["BROKER"], wanted) != present:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"broker {each.number} doesn't follow the permissions")
                time.sleep(0.02)

    def _format(self) -> None:
        cluster = base64.urlsafe_b64encode(b"b" + os.urandom(15)).decode().rstrip("=")  # never begins with a dash
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda each: each.format("-t", cluster, *self._format_arguments), self._nodes.values()))
        self._formatted = True

    def _answering(self) -> bool:
        awake = self._awake()
        wanted = {each.number for each in awake}
        try:
            for each in awake:
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
        # How long the place of a killed broker stays taken: nine seconds, if nobody says otherwise.
        "broker.session.timeout.ms": "2000",
        "broker.heartbeat.interval.ms": "300",
        "controller.quorum.election.timeout.ms": "500",
        "controller.quorum.election.backoff.max.ms": "300",
        "controller.quorum.fetch.timeout.ms": "1000",
        "replica.lag.time.max.ms": "5000",
        "controlled.shutdown.retry.backoff.ms": "500",
    }
