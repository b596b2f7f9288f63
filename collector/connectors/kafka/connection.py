"""How every client of the connector (producer, consumer, admin) reaches the brokers."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any, cast

from collector.tls import client_context

if TYPE_CHECKING:
    from collector.connectors.kafka.options import KafkaOptions

# A broker that answers at all answers in well under a second; past this the connection is given up and made anew,
# which is how aiokafka notices a broker whose machine vanished without closing it. (Its own default is 40 s.)
_REQUEST_TIMEOUT_MS = 10_000
# Between attempts, while a leader is elected (some 100 ms) or a broker comes back: soon enough to matter little beside
# `timeout`, seldom enough to cost nothing for as long as it is away.
_RETRY_BACKOFF_MS = 100
# How stale our picture of the cluster may become while nothing fails: partitions that somebody adds are noticed, and
# refused, within this. (Default 5 min.)
_METADATA_MAX_AGE_MS = 30_000


def connection(config: KafkaOptions) -> dict[str, Any]:
    """The keyword arguments that `AIOKafkaProducer`, `AIOKafkaConsumer` and `AIOKafkaAdminClient` have in common.

    Reads the TLS files, so call it in a thread. Raises `ConfigError` when one of them can't be read or used.
    """
    arguments: dict[str, Any] = {
        "bootstrap_servers": list(config.brokers),
        "client_id": config.client_id,
        "security_protocol": security_protocol(config),
        "request_timeout_ms": _REQUEST_TIMEOUT_MS,
        "retry_backoff_ms": _RETRY_BACKOFF_MS,
        "metadata_max_age_ms": _METADATA_MAX_AGE_MS,
    }
    if config.tls is not None and config.encrypted:
        context = client_context(config.tls)
        if config.tls.server_name_override:
            context = _expect(context, config.tls.server_name_override)
        arguments["ssl_context"] = context
    if config.auth is not None:
        sasl = config.auth.sasl
        arguments["sasl_mechanism"] = sasl.mechanism
        arguments["sasl_plain_username"] = sasl.username
        arguments["sasl_plain_password"] = sasl.password.get_secret_value()
    return arguments


def security_protocol(config: KafkaOptions) -> str:
    """Kafka's name for the combination of encryption and authentication."""
    transport = "SSL" if config.encrypted else "PLAINTEXT"
    return transport if config.auth is None else f"SASL_{transport}"


class _NamedContext(ssl.SSLContext):
    """Expects one name in the certificate, whatever address is connected to: aiokafka gives the address as the name."""

    expected = ""

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        del server_hostname
        return super().wrap_bio(incoming, outgoing, server_side, self.expected, session)


def _expect(context: ssl.SSLContext, name: str) -> ssl.SSLContext:
    # Only `create_default_context` knows all of the interpreter's safe defaults, and it makes no subclass.
    context.__class__ = _NamedContext
    named = cast("_NamedContext", context)
    named.expected = name
    return named
