"""The `otlp` receiver: one or two listeners before the same rules."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from collector.api import Options, Receiver, Signal
from receivers.otlp.config import OtlpConfig
from receivers.otlp.counts import NO_SIGNAL, Counts
from receivers.otlp.grpc_server import GrpcTransport
from receivers.otlp.http_server import HttpTransport
from receivers.otlp.listen import Endpoint
from receivers.otlp.service import Door, Tokens, Turns
from receivers.otlp.signals import RULES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from collector.api import BuildContext, Intake
    from receivers.otlp.config import HttpOptions
    from receivers.otlp.transport import Transport

GRACE_SECONDS = 5.0


class OtlpReceiver(Receiver):
    """Takes OTLP over gRPC and HTTP. Everything about a request is decided in `service.Door`."""

    Config: ClassVar[type[Options]] = OtlpConfig
    signals: ClassVar[frozenset[Signal]] = frozenset(Signal)

    def __init__(self, config: OtlpConfig, context: BuildContext) -> None:
        super().__init__(config, context)
        self._transports: list[Transport] = []

    @classmethod
    def problems(cls, config: OtlpConfig) -> list[tuple[tuple[str | int, ...], str]]:
        found: list[tuple[tuple[str | int, ...], str]] = []
        grpc, http = config.protocols.grpc, config.protocols.http
        if grpc is None and http is None:
            found.append((("protocols",), "expected grpc, http or both"))
        if grpc is not None and http is not None and _same_port(grpc.endpoint, http.endpoint):
            found.append((("protocols", "http", "endpoint"), "grpc listens on the same endpoint"))
        if http is not None:
            taken: dict[str, str] = {}
            for signal, path in _paths(http).items():
                if path in taken:
                    found.append((("protocols", "http", f"{signal.value}_url_path"), f"{taken[path]} is the same path"))
                taken.setdefault(path, f"{signal.value}_url_path")
        if config.auth is not None:
            for number, token in enumerate(config.auth.bearer_tokens):
                if not _usable(token.get_secret_value()):
                    found.append(
                        (
                            ("auth", "bearer_tokens", number),
                            "expected a token of printable ASCII without spaces (is its variable set?)",
                        )
                    )
        return found

    @classmethod
    def warnings(cls, config: OtlpConfig) -> list[tuple[tuple[str | int, ...], str]]:
        found: list[tuple[tuple[str | int, ...], str]] = []
        for name, listener in (("grpc", config.protocols.grpc), ("http", config.protocols.http)):
            if listener is None or listener.tls is not None or config.auth is None:
                continue
            host = listener.endpoint.rpartition(":")[0]
            if host not in ("localhost", "127.0.0.1", "[::1]"):
                found.append((("protocols", name), "bearer tokens travel in plaintext on this endpoint; add tls"))
        return found

    @property
    def ports(self) -> dict[str, int]:
        """The ports that are listened on, by transport name."""
        return {transport.name: transport.port for transport in self._transports}

    async def start(self, intakes: Mapping[Signal, Intake]) -> None:
        config: OtlpConfig = self.config
        counts = Counts(self.context)
        doors = self._doors(intakes, counts)
        unserved = partial(counts.record, NO_SIGNAL)
        ack_timeout = config.ack_timeout / 1e9
        wanted: list[Transport] = []
        if config.protocols.grpc is not None:
            methods = {RULES[signal].method: door for signal, door in doors.items()}
            wanted.append(
                GrpcTransport(config.protocols.grpc, methods, unserved, ack_timeout, self.context.resident_bytes)
            )
        if config.protocols.http is not None:
            paths = _paths(config.protocols.http)
            served = {paths[signal]: door for signal, door in doors.items()}
            wanted.append(HttpTransport(config.protocols.http, served, unserved, ack_timeout, self.context.log))
        for transport in wanted:
            try:
                await transport.start()
            except BaseException:
                await self.stop()
                raise
            self._transports.append(transport)

    def _doors(self, intakes: Mapping[Signal, Intake], counts: Counts) -> dict[Signal, Door]:
        config: OtlpConfig = self.config
        tokens = Tokens([token.get_secret_value() for token in config.auth.bearer_tokens] if config.auth else [])
        turns = Turns()
        most = {
            Signal.TRACES: config.max_spans_per_request,
            Signal.METRICS: config.max_data_points_per_request,
            Signal.LOGS: config.max_log_records_per_request,
        }
        return {
            signal: Door(
                RULES[signal], most[signal], intake, tokens=tokens, counts=counts, turns=turns, log=self.context.log
            )
            for signal, intake in intakes.items()
        }

    async def stop(self) -> None:
        transports, self._transports = self._transports, []
        await asyncio.gather(*(transport.stop(GRACE_SECONDS) for transport in transports))


def _paths(options: HttpOptions) -> dict[Signal, str]:
    return {
        Signal.TRACES: options.traces_url_path,
        Signal.METRICS: options.metrics_url_path,
        Signal.LOGS: options.logs_url_path,
    }


def _same_port(one: str, other: str) -> bool:
    return one == other and Endpoint.parse(one).port != 0


def _usable(token: str) -> bool:
    return token.isascii() and token.isprintable() and token != "" and " " not in token
