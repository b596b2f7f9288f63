"""The one producer of a process: data, decisions and quarantine go through it, idempotent, acknowledged by all."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    KafkaError,
    MessageSizeTooLargeError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
)

from collector.connectors.kafka.connection import close_client
from collector.errors import StorageError

if TYPE_CHECKING:
    import logging
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from aiokafka.structs import RecordMetadata

    from collector.connectors.kafka.records import Headers

RETRY_S = 1.0
"""Between two attempts to connect, and after a failure before the next append is let through."""
WATCH_S = 2.0
"""How often a quiet connection is asked for the cluster's metadata: that is how a lost broker is noticed."""
STOP_WITHIN_S = 2.0

AWAY = "kafka_away"
DENIED = "kafka_denied"
LOGIN = "kafka_login"
SLOW = "kafka_timeout"
TOO_LARGE = "too_large"
FAILED = "kafka_error"

_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (TopicAuthorizationFailedError, DENIED),
    (ClusterAuthorizationFailedError, DENIED),
    (SaslAuthenticationFailed, LOGIN),
    (MessageSizeTooLargeError, TOO_LARGE),
    (TimeoutError, SLOW),
)


class NotSentError(StorageError):
    """A record is not known to be in its topic. `reason` is one word, for a metric and for the sender's answer.

    It may be there all the same, when the broker's answer got lost.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"Kafka didn't take a record ({reason})")
        self.reason = reason


class Producer:
    """Keeps an `AIOKafkaProducer` alive, and says why it can't be used when it can't.

    Idempotence makes aiokafka send a batch until it is answered, however long that takes; `deadline_s` is how long
    anybody here waits for that. A batch that was refused for good leaves a hole in the producer's sequence numbers,
    which every later batch of the partition would be refused for: then a new producer takes its place.
    """

    def __init__(
        self,
        arguments: Mapping[str, Any],
        *,
        deadline_s: float,
        watched: Callable[[AIOKafkaProducer], Awaitable[None]],
        explain: Callable[[], Awaitable[str]],
        log: logging.Logger,
    ) -> None:
        self._arguments = arguments
        self._deadline_s = deadline_s
        self._watched = watched
        self._explain = explain
        self._log = log
        self._producer: AIOKafkaProducer | None = None
        self._task: asyncio.Task[None] | None = None
        self._obstacle: str | None = AWAY
        self._retry_at = 0.0
        self._overdue: set[asyncio.Future[Any]] = set()
        self._spoiled = asyncio.Event()
        self.why = "no broker was asked yet"
        """Why there is no connection, for a person."""
        self.connected = asyncio.Event()
        """Set once the first connection stands and has been looked at."""

    def start(self) -> None:
        """Connect in the background, and stay connected."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Close the connection; what is not answered by then stays unknown."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._close()
        self._obstacle = AWAY

    def obstacle(self) -> str | None:
        """Why a send would fail or wait now, in one word; None when nothing is known to be in the way."""
        if self._overdue:
            return SLOW
        if self._producer is None:
            return self._obstacle
        return self._obstacle if asyncio.get_running_loop().time() < self._retry_at else None

    async def send(
        self,
        topic: str,
        records: Sequence[tuple[int, bytes | None, bytes | None]],
        headers: Headers,
        since: float | None = None,
    ) -> list[RecordMetadata]:
        """Write `records` (partition, key, value), in order for each partition. Returns where they are.

        Raises `NotSentError` when that isn't known within the deadline, which begins at `since` (the event loop's time)
        where they have waited for company; some of them may be there then.
        """
        producer = self._producer
        if producer is None:
            raise NotSentError(self._obstacle or AWAY)
        futures: list[asyncio.Future[RecordMetadata]] = []
        try:
            async with asyncio.timeout_at((since or asyncio.get_running_loop().time()) + self._deadline_s):
                for partition, key, value in records:
                    future = await producer.send(topic, value, key, partition, headers=headers)
                    futures.append(future)
                # Not `gather`: a future that is given up must go on inside aiokafka.
                await asyncio.wait(futures)
            written = [future.result() for future in futures]
        except (KafkaError, TimeoutError, AssertionError) as error:  # the last: a partition that the topic hasn't
            self._fail(producer, error, futures)
            raise NotSentError(_reason(error)) from None
        finally:
            for future in futures:
                future.add_done_callback(_look_away)
        if self._obstacle is not None:
            self._log.warning("Kafka takes records again")
            self._obstacle = None
        return written

    def _fail(self, producer: AIOKafkaProducer, error: Exception, futures: Sequence[asyncio.Future[Any]]) -> None:
        reason = _reason(error)
        if self._obstacle != reason:
            self._log.error("Kafka doesn't take records (%s): senders are told to come again", reason)
        self._obstacle = reason
        self._retry_at = asyncio.get_running_loop().time() + RETRY_S
        if producer is not self._producer:
            return  # what was given to one that ended is never answered, and must hold up nobody
        for future in futures:
            if not future.done():
                self._overdue.add(future)
                future.add_done_callback(self._overdue.discard)
        if reason != SLOW:
            self._spoiled.set()

    async def _run(self) -> None:
        while True:
            try:
                await self._connect()
                await self._watch()
            except Exception as error:  # noqa: BLE001 - what answers may be no Kafka, and aiokafka make anything of it
                self._obstacle = _reason(error, AWAY)
                # aiokafka hides why it can't connect behind "unable to bootstrap".
                why = str(error) if isinstance(error, StorageError) else await self._explain()
                if why != self.why:
                    self._log.error("no connection to Kafka, trying again: %s", why)
                self.why = why
            await self._close()
            await asyncio.sleep(RETRY_S)

    async def _connect(self) -> None:
        self._spoiled.clear()
        producer = AIOKafkaProducer(**self._arguments)
        try:
            async with asyncio.timeout(self._deadline_s):
                await producer.start()
            await self._watched(producer)
        except BaseException:
            await _end(producer)
            raise
        self._producer = producer
        if self._obstacle in {AWAY, LOGIN}:
            self._obstacle = None
        self.why = ""
        self._log.info("connected to Kafka")
        self.connected.set()

    async def _watch(self) -> None:
        """Until the producer is spoiled."""
        while not self._spoiled.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._spoiled.wait(), WATCH_S)
                return
            producer = self._producer
            if producer is None:
                return
            reached = False
            with suppress(TimeoutError):
                async with asyncio.timeout(self._deadline_s):
                    reached = await producer.client.force_metadata_update()
            if reached:
                if self._obstacle == AWAY:
                    self._log.warning("Kafka answers again")
                    self._obstacle = None
                self._retry_at = 0.0  # whatever failed while it was away is tried again
                await self._watched(producer)
            else:
                if self._obstacle is None:
                    self._log.error("Kafka doesn't answer: senders are told to come again")
                self._obstacle = self._obstacle or AWAY
                self._retry_at = asyncio.get_running_loop().time() + WATCH_S + self._deadline_s

    async def _close(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            await _end(producer)
        self._overdue.clear()


async def _end(producer: AIOKafkaProducer) -> None:
    """Stop without waiting for a broker that is away: `stop` alone would flush for ever."""
    try:
        async with asyncio.timeout(STOP_WITHIN_S):
            await producer.stop()
    except BaseException as error:
        sender = producer._sender  # noqa: SLF001 - nothing public ends its task while batches wait
        if sender.sender_task is not None:
            sender.sender_task.cancel()
        await close_client(producer.client)
        if not isinstance(error, Exception):
            raise


def _reason(error: Exception, otherwise: str = FAILED) -> str:
    return next((reason for kind, reason in _REASONS if isinstance(error, kind)), otherwise)


def _look_away(future: asyncio.Future[Any]) -> None:
    """Somebody looked at its exception."""
    if not future.cancelled():
        future.exception()
