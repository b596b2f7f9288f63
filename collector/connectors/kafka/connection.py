"""How every client of the connector (producer, consumer, admin) reaches the brokers."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from aiokafka.errors import KafkaError

from collector.tls import client_context

if TYPE_CHECKING:
    from aiokafka import AIOKafkaConsumer
    from aiokafka.client import AIOKafkaClient

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
_CLOSE_WITHIN_S = 0.2


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


async def stop_consumer(consumer: AIOKafkaConsumer, within_s: float) -> None:
    """Stop `consumer` and leave its group; without a word to brokers that take longer than `within_s`.

    aiokafka's own `stop` has no end where a broker is frozen, and given up on the way it leaves tasks behind: a member
    that goes on with its heartbeats keeps partitions that nobody reads. Where one of its own tasks was cancelled, it
    ends as if the caller had been.
    """
    try:
        async with asyncio.timeout(within_s):
            await consumer.stop()
    except BaseException as error:
        for task in _tasks(consumer):
            task.cancel()
        await close_client(consumer._client)  # noqa: SLF001 - nothing public ends what `stop` has left
        caller = asyncio.current_task()
        its_own = isinstance(error, asyncio.CancelledError) and caller is not None and not caller.cancelling()
        if not isinstance(error, Exception) and not its_own:
            raise


def reads_on(consumer: AIOKafkaConsumer) -> bool:
    """Whether it still fetches. After an error that aiokafka didn't expect it gives nothing, and tells nobody."""
    fetcher = consumer._fetcher  # noqa: SLF001 - nothing public tells
    return fetcher is None or not fetcher.error_future.done()


def _tasks(consumer: AIOKafkaConsumer) -> list[asyncio.Task[Any]]:
    coordinator, fetcher = consumer._coordinator, consumer._fetcher  # noqa: SLF001 - as above
    names = ("_coordination_task", "_heartbeat_task", "_commit_refresh_task", "_reset_committed_task")
    tasks = [getattr(coordinator, name, None) for name in names]  # without a group it has others; before a start, none
    if fetcher is not None:
        tasks += [fetcher._fetch_task, *fetcher._pending_tasks]  # noqa: SLF001 - as above
    return [task for task in tasks if task is not None]


async def close_client(client: AIOKafkaClient) -> None:
    """Close every connection, and don't wait for the other side: a frozen one never answers the end of TLS."""
    with suppress(KafkaError, OSError, TimeoutError):
        async with asyncio.timeout(_CLOSE_WITHIN_S):
            await client.close()


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
